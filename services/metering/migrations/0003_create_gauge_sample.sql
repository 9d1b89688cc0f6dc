-- Levels over time, one row a sample. Text is compared byte by byte, here and in Python, because the order decides.
CREATE TABLE gauge_sample (
  tenant_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  resource text COLLATE "C" NOT NULL,
  time_us bigint NOT NULL,
  source text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  level bigint NOT NULL CHECK (level >= 0),
  PRIMARY KEY (tenant_id, metric, resource, time_us, source, event_id)
);

-- The last sample of each resource.
CREATE TABLE gauge_resource (
  tenant_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  resource text COLLATE "C" NOT NULL,
  time_us bigint NOT NULL,
  source text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  level bigint NOT NULL,
  PRIMARY KEY (tenant_id, metric, resource)
) WITH (fillfactor = 70);

-- How far a tenant's gauge is integrated into usage_window, and from where it must be again because samples came.
-- Whoever integrates holds the row; so does a batch that adds samples, to its commit.
CREATE TABLE gauge (
  tenant_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  integrated_to_us bigint NOT NULL,
  dirty_from_us bigint,
  latest_us bigint NOT NULL,
  PRIMARY KEY (tenant_id, metric)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
