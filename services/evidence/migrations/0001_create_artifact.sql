-- Every key that ever signed here. `replaces` makes them a chain: one beginning, and no key is replaced twice.
CREATE TABLE signing_key (
  number integer GENERATED ALWAYS AS IDENTITY,
  fingerprint text PRIMARY KEY CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
  pem text NOT NULL,
  replaces text UNIQUE NULLS NOT DISTINCT REFERENCES signing_key (fingerprint),
  admitted_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each signed manifest, named by the SHA-256 of its bytes; the contents are files of the object store.
CREATE TABLE artifact (
  digest text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
  bundle_digest text NOT NULL CHECK (bundle_digest ~ '^[0-9a-f]{64}$'),
  kind text NOT NULL CHECK (kind IN ('invoice')),
  subject_id text NOT NULL,
  tenant_id text NOT NULL,
  number text NOT NULL,
  period text NOT NULL CHECK (period ~ '^\d{4}-\d{2}$'),
  key_fingerprint text NOT NULL REFERENCES signing_key (fingerprint),
  signed_at timestamptz NOT NULL
);
CREATE INDEX artifact_newest ON artifact (signed_at DESC, digest DESC);
CREATE INDEX artifact_newest_of_tenant ON artifact (tenant_id, signed_at DESC, digest DESC);
