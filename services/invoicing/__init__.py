"""Invoicing: closes periods, rates exactly the frozen usage, issues immutable invoices and serves their files."""
