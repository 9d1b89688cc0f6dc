-- What other services own and invoicing needs: the copies that its topics keep up to date.

CREATE TABLE tenant (
  tenant_id text PRIMARY KEY,
  billing_zone text NOT NULL,
  changed_at timestamptz NOT NULL
);

CREATE TABLE plan_version (
  plan_id text NOT NULL,
  version integer NOT NULL CHECK (version >= 1),
  currency text NOT NULL,
  prices jsonb NOT NULL,                            -- as the event's price_map: exact numbers as strings
  PRIMARY KEY (plan_id, version)
);

-- All assignments of a tenant, position 0 the oldest; replaced together, by the newer changed_at.
CREATE TABLE tenant_plan_assignment (
  tenant_id text NOT NULL,
  position integer NOT NULL,
  plan_id text NOT NULL,
  version integer NOT NULL,
  effective_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, position)
);

-- Metering's totals of quarters of an hour, exact, in the metric's base unit. A row changes up to once a second while
-- its window is open: room on the page and no index on what changes keep the updates in place.
CREATE TABLE usage_window_copy (
  tenant_id text NOT NULL,
  metric text NOT NULL,
  window_start timestamptz NOT NULL,
  value numeric NOT NULL,
  store_epoch bigint NOT NULL,
  seq bigint NOT NULL,
  digest text NOT NULL,
  PRIMARY KEY (tenant_id, metric, window_start)
) WITH (fillfactor = 70);
