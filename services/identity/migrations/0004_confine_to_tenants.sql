-- Keys of operators and gateways belong to no tenant: the API role never sees them. It cannot change what a key is or may
-- do, only revoke it; the one live operator key is kept by the worker role at every start.
CALL confine_to_tenant('tenant');
CALL confine_to_tenant('api_key');
GRANT SELECT, INSERT, UPDATE (changed_at) ON tenant TO :"api";  -- the update is for locking the row: it is never written
GRANT SELECT, INSERT, UPDATE (revoked_at, changed_at) ON api_key TO :"api";
GRANT INSERT ON identity_change TO :"api", :"worker";
GRANT SELECT ON tenant TO :"worker";
GRANT SELECT, INSERT, UPDATE (digest, scopes, revoked_at, changed_at) ON api_key TO :"worker";
