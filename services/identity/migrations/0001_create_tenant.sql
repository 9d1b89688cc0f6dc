-- A customer. Never deleted: usage, invoices and evidence name it for years.
CREATE TABLE tenant (
  tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^tnt_[a-z2-7]{20}$'),
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
  status text NOT NULL CHECK (status IN ('active', 'suspended')),
  region text NOT NULL,
  billing_zone text NOT NULL,
  plan_id text NOT NULL,
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL CHECK (changed_at >= created_at)
);
CREATE INDEX tenant_by_age ON tenant (created_at, tenant_id);
