"""The load client: a process of its own that calls the gateway as its tenants do, and counts what it is answered.

It imports the standard library and httpx, nothing of Maestro's: what it counts, it counts by HTTP status alone.
"""
