-- What was issued. A row here is never changed and never removed.

-- The last number given out per legal entity. The row is locked from the allocation to the commit, so that a number is
-- used exactly when an invoice has it: no gap, no double.
CREATE TABLE number_series (
  issuer_id text PRIMARY KEY,
  last_number bigint NOT NULL CHECK (last_number >= 1)
);

CREATE TABLE invoices (
  id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  period_start date NOT NULL,                       -- first local day of the period
  period_end date NOT NULL,                         -- the local day after its last
  totals jsonb NOT NULL,
  manifest_sha char(64) NOT NULL CHECK (manifest_sha ~ '^[0-9a-f]{64}$'),
  created_at timestamptz NOT NULL,
  close_id uuid NOT NULL UNIQUE REFERENCES close,
  period text NOT NULL,
  issuer_id text NOT NULL REFERENCES number_series,
  series_number bigint NOT NULL,
  number text NOT NULL,
  total numeric NOT NULL,
  currency text NOT NULL,
  UNIQUE (tenant_id, period),
  UNIQUE (issuer_id, series_number)
);
CREATE INDEX invoices_newest ON invoices (created_at DESC, id DESC);
CREATE INDEX invoices_newest_of_tenant ON invoices (tenant_id, created_at DESC, id DESC);

CREATE TABLE invoice_file (
  invoice_id uuid NOT NULL REFERENCES invoices,
  name text NOT NULL,
  sha256 char(64) NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (invoice_id, name)
);

CREATE TABLE invoice_signature (
  invoice_id uuid PRIMARY KEY REFERENCES invoices,
  key_fingerprint char(64) NOT NULL,
  signed_at timestamptz NOT NULL
);
