-- The manifest of the archive (docs/decisions/0012-the-archive.md). A lot is what one commit of the archiver covers; its files
-- lie in staging/<staged_in>/ until they are published.
CREATE TABLE archive_lot (
  lot_id uuid PRIMARY KEY,
  staged_in text NOT NULL,
  kept_at timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX archive_lot_unpublished ON archive_lot (kept_at) WHERE published_at IS NULL;

-- Which offsets a lot covers. Those of a partition follow each other without a gap, unless an operator moved the offset.
CREATE TABLE archive_range (
  topic_id uuid NOT NULL,
  partition integer NOT NULL,
  start_offset bigint NOT NULL CHECK (start_offset >= 0),
  end_offset bigint NOT NULL CHECK (end_offset > start_offset),
  first_appended_at_ms bigint NOT NULL,
  lot_id uuid NOT NULL REFERENCES archive_lot,
  PRIMARY KEY (topic_id, partition, start_offset)
);
CREATE INDEX archive_range_lot ON archive_range (lot_id);

-- Every file, and what it must be.
CREATE TABLE archive_file (
  day date NOT NULL,
  tenant_hash smallint NOT NULL,
  name text NOT NULL,
  lot_id uuid NOT NULL REFERENCES archive_lot,
  event_count bigint NOT NULL CHECK (event_count > 0),
  size_bytes bigint NOT NULL,
  sha256 text NOT NULL,
  PRIMARY KEY (tenant_hash, day, name)
);
CREATE INDEX archive_file_lot ON archive_file (lot_id);

GRANT SELECT, INSERT, UPDATE (published_at) ON archive_lot TO :"worker";
GRANT SELECT, INSERT ON archive_range, archive_file TO :"worker";
