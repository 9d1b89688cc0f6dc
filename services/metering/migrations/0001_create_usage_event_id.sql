-- The secret of this installation that event keys are hashed with (docs/decisions/0002-metering-exactness.md). It lives with
-- the ids it made: a restored database brings its own, and both still fit together. Exactly one row, never changed.
CREATE TABLE fingerprint_secret (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  secret bytea NOT NULL CHECK (octet_length(secret) = 32)
);
INSERT INTO fingerprint_secret (secret) VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- Every event that stands, for 35 days at least: the key is 128 bits of (tenant, source, id), the digest 64 bits of its body.
-- Rows are inserted and deleted, never updated. About 110 bytes an event, index included.
CREATE TABLE usage_event_id (
  key uuid PRIMARY KEY,
  digest bigint NOT NULL,
  time_us bigint NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_vacuum_scale_factor = 0.02);
-- Old ids are found by time; they were inserted about in that order, so a block range index of some kilobytes does.
CREATE INDEX usage_event_id_age ON usage_event_id USING brin (time_us);

-- How often an event that stands came again with the same body.
CREATE TABLE usage_duplicate (
  key uuid PRIMARY KEY,
  copies bigint NOT NULL CHECK (copies > 0)
) WITH (fillfactor = 80);

-- What came under the key of an event that stands, with another body or time. Never counted; the first is in usage_event_id.
CREATE TABLE usage_conflict (
  key uuid NOT NULL,
  other_digest bigint NOT NULL,
  first_digest bigint NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  source text NOT NULL,
  event_id text NOT NULL,
  other_type text NOT NULL,
  other_time_us bigint NOT NULL,
  copies bigint NOT NULL DEFAULT 1,
  first_seen_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (key, other_digest)
);
CREATE INDEX usage_conflict_tenant ON usage_conflict (tenant_id, first_seen_at);

-- A meter that matched an event and could not take its number; other meters may have.
CREATE TABLE usage_failure (
  key uuid NOT NULL,
  metric text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  detail text NOT NULL,
  failed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (key, metric)
);
