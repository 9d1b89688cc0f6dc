"""PostgreSQL: pools, transactions, forward-only migrations, idempotency keys, the store's epoch.

    pool = await open_pool(settings, name="identity")
    await migrate(pool, [bus_migrations, store_migrations, own_migrations])
    async with transaction(pool) as tx: ...

Every service owns one database; nothing here knows a table of a service.
"""
