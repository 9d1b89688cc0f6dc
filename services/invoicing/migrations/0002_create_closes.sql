-- A close moves forward by rows that are added: asked for (close), frozen (frozen_close, frozen_window), issued
-- (invoices), signed (invoice_signature). Only waiting_close changes: it is the list of work.

CREATE TABLE close (
  close_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  period text NOT NULL CHECK (period ~ '^\d{4}-\d{2}$'),
  zone text NOT NULL,
  starts_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL CHECK (starts_at < ends_at),
  early boolean NOT NULL,
  requested_at timestamptz NOT NULL,
  traceparent text,
  UNIQUE (tenant_id, period)                        -- one close, and so one invoice, per tenant and period
);
CREATE INDEX close_newest ON close (requested_at DESC, close_id DESC);

CREATE TABLE frozen_close (
  close_id uuid PRIMARY KEY REFERENCES close,
  through timestamptz NOT NULL,
  closed_at timestamptz NOT NULL,
  tzdata_version text NOT NULL,
  totals jsonb NOT NULL                             -- metering's sums per metric: exact numbers as strings
);

CREATE TABLE frozen_window (
  close_id uuid NOT NULL REFERENCES frozen_close,
  metric text NOT NULL,
  window_start timestamptz NOT NULL,
  store_epoch bigint NOT NULL,
  seq bigint NOT NULL,
  digest text NOT NULL,
  PRIMARY KEY (close_id, metric, window_start)
);

CREATE TABLE waiting_close (
  close_id uuid PRIMARY KEY REFERENCES frozen_close,
  tenant_id text NOT NULL,
  tries integer NOT NULL DEFAULT 0,
  try_at timestamptz NOT NULL,
  waits_for text NOT NULL                           -- in words, for whoever asks why there is no invoice yet
);
CREATE INDEX waiting_close_due ON waiting_close (try_at);
CREATE INDEX waiting_close_of_tenant ON waiting_close (tenant_id);
