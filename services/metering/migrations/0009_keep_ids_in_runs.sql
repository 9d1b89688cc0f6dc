-- Event ids as immutable sorted runs (docs/decisions/0013-runs-of-ids.md). A lane is an eighth of all keys, for good; whoever
-- adds ids to it moves its sequence from the number that they loaded it at, so that nobody adds who does not know all.
CREATE TABLE usage_id_lane (
  lane smallint PRIMARY KEY CHECK (lane BETWEEN 0 AND 7),
  seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO usage_id_lane (lane) SELECT generate_series(0, 7);

-- The live runs of a lane are together the ids that stand in it.
CREATE TABLE usage_id_run (
  id uuid PRIMARY KEY,
  lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 7),
  entries bigint NOT NULL CHECK (entries >= 0),
  kept_from_us bigint NOT NULL,  -- of its last id; all of a run are forgotten at once, the horizon after that
  state text NOT NULL CHECK (state IN ('building', 'live', 'replaced', 'forgotten'))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX usage_id_run_live ON usage_id_run (lane) WHERE state = 'live';
CREATE INDEX usage_id_run_gone ON usage_id_run (id) WHERE state IN ('replaced', 'forgotten');

-- The entries of runs in pieces of at most 60, by key: 16 bytes key, 8 digest, 8 time, big-endian. So many fit a fourth of a
-- page: one key is found in a run by one look into the index and one into the table. About 37 bytes an event in all.
CREATE TABLE usage_id_chunk (
  run uuid NOT NULL,
  first_key uuid NOT NULL,
  entries bytea STORAGE PLAIN NOT NULL,
  PRIMARY KEY (run, first_key)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_vacuum_scale_factor = 0.05);

-- The ids of before. As long as this is empty the version before may go on adding to usage_event_id; the row is made, with
-- the table locked, by the first process that keeps ids in runs. From then on that table only shrinks, into runs, and whoever
-- would add to it is told to wait (57P03): it does not know the runs, and would count again what stands in them.
CREATE TABLE usage_id_cutover (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  cut_over_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION refuse_ids_of_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM usage_id_cutover) THEN
    RAISE EXCEPTION 'event ids are kept in runs by a newer version of metering, which goes on from here'
      USING ERRCODE = 'cannot_connect_now';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER refuse_ids_of_before BEFORE INSERT ON usage_event_id
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_ids_of_before();

-- Like usage_event_id these have no tenant: a key is a keyed hash, and a route computes it from the caller's own tenant.
GRANT SELECT ON usage_id_run, usage_id_chunk TO :"api";
GRANT SELECT, UPDATE ON usage_id_lane TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_id_run TO :"worker";
GRANT SELECT, INSERT, DELETE ON usage_id_chunk TO :"worker";
GRANT SELECT, INSERT ON usage_id_cutover TO :"worker";
