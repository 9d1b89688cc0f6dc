"""The embedded stack: real PostgreSQL, Valkey and Kafka from packages, and every Maestro service, on one machine."""
