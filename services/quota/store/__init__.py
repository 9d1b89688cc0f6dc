"""Quota's stores: plans, assignments and gauges in PostgreSQL; buckets in Valkey, which may be lost and rebuilt."""
