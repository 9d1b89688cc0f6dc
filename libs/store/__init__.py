"""PostgreSQL: three roles, pools, transactions of one tenant, forward-only migrations, idempotency keys, the epoch.

    async with opened(settings, [BUS_MIGRATIONS, STORE_MIGRATIONS, MIGRATIONS], name="identity") as pools:
        async with transaction(pools.api, tenant=tenant_id) as tx: ...
        async with transaction(pools.worker) as tx: ...

Every service owns one database; nothing here knows a table of a service.
"""
