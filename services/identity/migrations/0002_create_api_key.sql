-- An API key as its digest; the text of a key is nowhere in this database. Revoked keys stay, so that they never return.
CREATE TABLE api_key (
  key_id text PRIMARY KEY CHECK (key_id ~ '^[a-z2-7]{16}$'),
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
  digest text NOT NULL UNIQUE CHECK (digest ~ '^[0-9a-f]{64}$'),
  kind text NOT NULL CHECK (kind IN ('operator', 'tenant', 'edge')),
  tenant_id text REFERENCES tenant,
  scopes text[] NOT NULL,
  act_for text[] NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  changed_at timestamptz NOT NULL CHECK (changed_at >= created_at),
  CHECK ((kind = 'tenant') = (tenant_id IS NOT NULL)),
  CHECK ((kind = 'edge') = (cardinality(act_for) > 0))
);
CREATE INDEX api_key_by_age ON api_key (created_at, key_id);
CREATE INDEX api_key_live_by_tenant ON api_key (kind, tenant_id) WHERE revoked_at IS NULL;
