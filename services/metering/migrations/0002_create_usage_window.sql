-- Totals by quarter of an hour. A row of a closed period (closed_in) never changes again. What changed since it was last
-- published is found by the partial index; (store_epoch, seq) grows with every change.
CREATE TABLE usage_window (
  tenant_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  window_start timestamptz NOT NULL,
  value numeric NOT NULL,
  unit text NOT NULL DEFAULT '1' CHECK (unit IN ('1', 'By.us')),
  last_gauge bigint,
  store_epoch bigint NOT NULL,
  seq bigint NOT NULL CHECK (seq >= 1),
  published_seq bigint NOT NULL DEFAULT 0,
  closed_in text,
  PRIMARY KEY (tenant_id, metric, window_start)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX usage_window_changed ON usage_window (tenant_id, metric, window_start) WHERE seq > published_seq;

-- The epoch that all open windows were last made to carry; behind libs/store's store_epoch after a promotion or restore.
CREATE TABLE published_epoch (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  epoch bigint NOT NULL
);
INSERT INTO published_epoch (epoch) SELECT epoch FROM store_epoch;

-- UTC hours. Storage is shown in GB-hours (GB = 10^9 bytes); bills are rated from the exact windows, not from here.
CREATE VIEW usage_rollup AS
SELECT tenant_id, date_trunc('hour', window_start, 'UTC') AS window_start, metric,
  CASE WHEN min(unit) = 'By.us' THEN round(sum(value) / 3600000000000000000, 12) ELSE sum(value) END AS value
FROM usage_window
GROUP BY tenant_id, date_trunc('hour', window_start, 'UTC'), metric;
