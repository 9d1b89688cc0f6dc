-- What a consumer set aside, once per record, and what became of it. The record itself lies on <topic>-dlq.
-- producer, lane_key, epoch and seq are the place of an event of ours: by it the replayed copy is known, and taken once.
CREATE TABLE dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consumer text NOT NULL,
  topic text NOT NULL,
  topic_id uuid NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  reason text NOT NULL,
  cause text NOT NULL,
  trace_id text,
  digest text NOT NULL,
  size_bytes bigint NOT NULL,
  by_reference boolean NOT NULL,
  appended_at timestamptz NOT NULL,
  producer text,
  lane_key bytea,
  epoch bigint,
  seq bigint,
  dead_at timestamptz NOT NULL DEFAULT now(),
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replaying', 'replayed', 'dropped')),
  taken_at timestamptz,
  UNIQUE (consumer, topic_id, partition, record_offset)
);
CREATE INDEX dead_letter_waiting ON dead_letter (consumer, topic) WHERE state IN ('waiting', 'replaying');
CREATE INDEX dead_letter_replayed ON dead_letter (consumer, topic, partition, epoch, seq)
  WHERE state IN ('replaying', 'replayed') AND taken_at IS NULL;
CREATE INDEX dead_letter_age ON dead_letter (dead_at);

-- Each time a person had a letter replayed or dropped. Kept when the letter itself is long gone.
CREATE TABLE dead_letter_step (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  letter_id bigint NOT NULL,
  consumer text NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL,
  record_offset bigint NOT NULL,
  digest text NOT NULL,
  step text NOT NULL CHECK (step IN ('replay', 'drop')),
  taken_by text NOT NULL,
  reason text NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letter_step_letter ON dead_letter_step (letter_id);
