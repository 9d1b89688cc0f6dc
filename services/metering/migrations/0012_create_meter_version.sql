-- Meters as configuration (docs/decisions/0015-meters.md). A version never changes; the next one takes its place from
-- `effective_from` on. `epoch` grows with each, and whoever counts looks at it in the transaction that counts.
CREATE TABLE meter_version (
  name text COLLATE "C" NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  version int NOT NULL CHECK (version >= 1),
  spec jsonb NOT NULL,
  is_retired boolean NOT NULL DEFAULT false,
  effective_from timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  actor text NOT NULL,
  request_id text NOT NULL,
  reason text,
  PRIMARY KEY (name, version)
);
CREATE TABLE meter_epoch (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  epoch bigint NOT NULL
);
INSERT INTO meter_epoch (epoch) VALUES (0);

GRANT SELECT, INSERT ON meter_version TO :"api", :"worker";
GRANT SELECT, UPDATE (epoch) ON meter_epoch TO :"api", :"worker";
