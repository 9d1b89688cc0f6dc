-- The catalogue as it is sold today: the newest version of each plan. Its history is plan_version.
CREATE TABLE plans (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9-]{0,31}$'),
  name text NOT NULL,
  limits jsonb NOT NULL,
  price_map jsonb NOT NULL,
  currency char(3) NOT NULL,
  version integer NOT NULL CHECK (version >= 1)
);
-- Every version that there ever was; never changed, because tenants stay on theirs and invoices name it.
CREATE TABLE plan_version (
  plan_id text NOT NULL REFERENCES plans (id),
  version integer NOT NULL CHECK (version >= 1),
  name text NOT NULL,
  limits jsonb NOT NULL,
  price_map jsonb NOT NULL,
  currency char(3) NOT NULL,
  effective_at timestamptz NOT NULL,
  PRIMARY KEY (plan_id, version)
);
-- The plan that a tenant is on. What is planned, and what was, is tenant_plan_history.
CREATE TABLE tenant_plan (
  tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^tnt_[a-z2-7]{20}$'),
  plan_id text NOT NULL REFERENCES plans (id),
  effective_at timestamptz NOT NULL DEFAULT now(),
  version integer NOT NULL,
  FOREIGN KEY (plan_id, version) REFERENCES plan_version (plan_id, version)
);
-- Appended to; a change that was planned and given up before it began is withdrawn, not deleted. The actor is a key id (a
-- pseudonym) or 'registration'.
CREATE TABLE tenant_plan_history (
  assignment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id text NOT NULL CHECK (tenant_id ~ '^tnt_[a-z2-7]{20}$'),
  plan_id text NOT NULL,
  version integer NOT NULL,
  effective_at timestamptz NOT NULL,
  assigned_at timestamptz NOT NULL,
  actor text NOT NULL,
  request_id text NOT NULL,
  reason text,
  withdrawn_at timestamptz,
  FOREIGN KEY (plan_id, version) REFERENCES plan_version (plan_id, version)
);
CREATE UNIQUE INDEX tenant_plan_history_standing ON tenant_plan_history (tenant_id, effective_at)
  WHERE withdrawn_at IS NULL;
CREATE INDEX tenant_plan_history_beginning ON tenant_plan_history (effective_at) WHERE withdrawn_at IS NULL;
