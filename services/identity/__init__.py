"""Tenants and API keys: who there is, and what each key may do."""
