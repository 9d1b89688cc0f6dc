-- What invoicing asked for. Open until answered_at is set, in the transaction that freezes.
CREATE TABLE close_request (
  close_id text PRIMARY KEY,
  request text NOT NULL,
  traceparent text,
  received_at timestamptz NOT NULL DEFAULT now(),
  answered_at timestamptz
);
CREATE INDEX close_request_open ON close_request (received_at, close_id) WHERE answered_at IS NULL;

-- A frozen period of a tenant. `said` is the PeriodClosed event, word for word; asking again has it said again.
CREATE TABLE period_close (
  tenant_id text COLLATE "C" NOT NULL,
  period text NOT NULL,
  close_id text NOT NULL UNIQUE,
  starts_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  said text NOT NULL,
  PRIMARY KEY (tenant_id, period)
);
CREATE INDEX period_close_end ON period_close (tenant_id, ends_at);

-- What came for a closed period after its close, by name. The key is the event's; all zero for a gauge, whose value is the
-- difference between its integral as it now is and as it was frozen.
CREATE TABLE usage_adjustment (
  tenant_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  window_start timestamptz NOT NULL,
  key uuid NOT NULL,
  close_id text NOT NULL,
  period text NOT NULL,
  value numeric NOT NULL,
  unit text NOT NULL,
  source text,
  event_id text,
  time_us bigint,
  reason text NOT NULL CHECK (reason IN ('late_event', 'gauge_changed')),
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, metric, window_start, key)
);
