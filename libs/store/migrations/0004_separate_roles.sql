-- Three roles work on this database: its owner, who migrates; the API role, for HTTP routes, one tenant at a time; the
-- worker role, for consumers and loops, across tenants. Nobody else has a way in, and nothing is granted to all.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"api", :"worker";

-- For every table with a tenant_id: the API role reaches the rows of the tenant that its transaction was opened for, and
-- none without one. FORCE holds the owner too: a migration that must touch rows lifts it for its own transaction.
CREATE PROCEDURE confine_to_tenant(target regclass) LANGUAGE plpgsql AS $$
DECLARE
  mine CONSTANT text := 'tenant_id = nullif(current_setting(''maestro.tenant'', true), '''')';
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
  EXECUTE format('CREATE POLICY one_tenant ON %s TO :"api" USING (%s) WITH CHECK (%2$s)', target, mine);
  EXECUTE format('CREATE POLICY all_tenants ON %s TO :"worker" USING (true) WITH CHECK (true)', target);
END
$$;
REVOKE ALL ON PROCEDURE confine_to_tenant FROM PUBLIC;

GRANT SELECT, UPDATE (epoch, reason, raised_at) ON store_epoch TO :"worker";

-- An answer that is kept may hold what its principal was told: the API role sees those of one principal at a time.
ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_principal ON idempotency_key TO :"api"
  USING (principal = nullif(current_setting('maestro.principal', true), ''))
  WITH CHECK (principal = nullif(current_setting('maestro.principal', true), ''));
CREATE POLICY all_principals ON idempotency_key TO :"worker" USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (status, body) ON idempotency_key TO :"api";
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO :"worker";
