-- What a service has said and the relay has not yet published. Rows are deleted once they are durable in Kafka.
-- epoch and seq are null until the relay gives them out; stamped rows carry them as headers.
CREATE TABLE outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id uuid NOT NULL DEFAULT gen_random_uuid(),
  topic text NOT NULL,
  key bytea,
  value bytea,
  header_names bytea[] NOT NULL,
  header_values bytea[] NOT NULL,
  stamped boolean NOT NULL,
  size_bytes bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  partition integer,
  epoch bigint,
  seq bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE outbox ALTER COLUMN value SET STORAGE EXTERNAL;

-- The last sequence given out for each partition of each topic.
CREATE TABLE outbox_sequence (
  topic text NOT NULL,
  partition integer NOT NULL,
  epoch bigint NOT NULL,
  seq bigint NOT NULL,
  PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Who may give out sequences. Exactly one row; the token changes with every holder.
CREATE TABLE relay_lease (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  token uuid NOT NULL,
  holder text NOT NULL,
  expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
INSERT INTO relay_lease (token, holder, expires_at) VALUES (gen_random_uuid(), '', '-infinity');
