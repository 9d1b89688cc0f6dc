-- Who changed what, in which request: appended to, never edited. The actor is a key id (a pseudonym) or 'set-up'.
CREATE TABLE identity_change (
  change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  subject text NOT NULL,
  actor text NOT NULL,
  request_id text NOT NULL,
  reason text,
  changed_at timestamptz NOT NULL
);
CREATE INDEX identity_change_by_subject ON identity_change (subject, change_id);

CREATE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is appended to, never edited', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER identity_change_is_appended_to BEFORE UPDATE OR DELETE OR TRUNCATE ON identity_change
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();
