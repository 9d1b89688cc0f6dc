-- What each tenant stores, as metering last saw it. The newest window decides; within it the newest total.
CREATE TABLE storage_gauge (
  tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^tnt_[a-z2-7]{20}$'),
  bytes numeric(38, 0) NOT NULL CHECK (bytes >= 0),
  store_epoch bigint NOT NULL,
  window_start timestamptz NOT NULL,
  seq bigint NOT NULL
);
