-- How far each consumer has come, by the broker's topic id: a topic made again starts from nothing, never from here.
-- Moves only by compare-and-set in the transaction of the effect.
CREATE TABLE consumer_offset (
  consumer text NOT NULL,
  topic_id uuid NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  topic text NOT NULL,
  next bigint NOT NULL CHECK (next >= 0),
  owner_epoch bigint NOT NULL DEFAULT 0,
  instance text NOT NULL,
  appended_at_ms bigint,
  moved_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, topic_id, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX consumer_offset_topic ON consumer_offset (consumer, topic, partition);

-- Which process of an instance is the living one: a greater incarnation ends a smaller one.
CREATE TABLE consumer_instance (
  consumer text NOT NULL,
  instance text NOT NULL,
  incarnation bigint NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, instance)
);

-- The last (epoch, seq) taken from each producer: by partition, or by key where compaction may take records away.
CREATE TABLE consumer_sequence (
  consumer text NOT NULL,
  producer text NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL,
  key bytea NOT NULL,
  epoch bigint NOT NULL,
  seq bigint NOT NULL,
  PRIMARY KEY (consumer, producer, topic, partition, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Every time an operator moved an offset by hand, and from where.
CREATE TABLE consumer_offset_reset (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consumer text NOT NULL,
  topic text NOT NULL,
  topic_id uuid NOT NULL,
  partition integer NOT NULL,
  before_topic_id uuid,
  before_next bigint,
  after_next bigint NOT NULL,
  reset_by text NOT NULL,
  reason text NOT NULL,
  reset_at timestamptz NOT NULL DEFAULT now()
);
