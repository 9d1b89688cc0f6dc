-- What was corrected of events that stand (docs/decisions/0014-corrections.md). Requests and answers are only added.
-- key, digest and time are those of the event; corrections of one event are answered in the order of
-- their numbers. list_id says with which others it was asked for at once.
CREATE TABLE usage_correction (
  correction_id uuid PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  key uuid NOT NULL,
  digest bigint NOT NULL,
  time_us bigint NOT NULL,
  action text NOT NULL CHECK (action IN ('void', 'amend')),
  attributes text,
  actor text NOT NULL,
  request_id text NOT NULL,
  reason text NOT NULL CHECK (reason <> ''),
  list_id uuid,
  requested_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (key, number),
  CHECK ((action = 'amend') = (attributes IS NOT NULL))
);
CREATE INDEX usage_correction_tenant ON usage_correction (tenant_id, requested_at, correction_id);
CREATE INDEX usage_correction_list ON usage_correction (list_id) WHERE list_id IS NOT NULL;
CREATE INDEX usage_correction_time ON usage_correction (tenant_id, time_us);

-- before and after: what the event counted, as JSON, effect by effect.
CREATE TABLE usage_correction_outcome (
  correction_id uuid PRIMARY KEY REFERENCES usage_correction,
  tenant_id text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('applied', 'refused')),
  before text NOT NULL,
  after text NOT NULL,
  detail text,
  decided_at timestamptz NOT NULL DEFAULT now()
);

-- What is not answered yet, and what it waits for. Taken in the order of tenant and time, so that neighbours in the archive
-- are read together.
CREATE TABLE usage_correction_waiting (
  correction_id uuid PRIMARY KEY REFERENCES usage_correction,
  tenant_id text COLLATE "C" NOT NULL,
  key uuid NOT NULL,
  number integer NOT NULL,
  time_us bigint NOT NULL,
  since timestamptz NOT NULL DEFAULT now(),
  looked_at_next timestamptz NOT NULL DEFAULT now(),
  waits_for text NOT NULL DEFAULT 'its turn'
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX usage_correction_waiting_next ON usage_correction_waiting (looked_at_next, tenant_id, time_us);
CREATE INDEX usage_correction_waiting_event ON usage_correction_waiting (key, number);

-- Of a correction of a closed period the key is the correction's id.
ALTER TABLE usage_adjustment DROP CONSTRAINT usage_adjustment_reason_check;
ALTER TABLE usage_adjustment ADD CONSTRAINT usage_adjustment_reason_check
  CHECK (reason IN ('late_event', 'gauge_changed', 'void', 'amendment'));

CALL confine_to_tenant('usage_correction');
CALL confine_to_tenant('usage_correction_outcome');
CALL confine_to_tenant('usage_correction_waiting');

GRANT SELECT, INSERT ON usage_correction, usage_correction_waiting TO :"api";
GRANT SELECT ON usage_correction_outcome TO :"api";
GRANT SELECT, INSERT ON usage_correction, usage_correction_outcome TO :"worker";
GRANT SELECT, INSERT, UPDATE (looked_at_next, waits_for), DELETE ON usage_correction_waiting TO :"worker";
GRANT DELETE ON gauge_sample, gauge_resource TO :"worker";
