-- Who changed what, where, why and in which request: appended to, never edited. Nothing here names a person: actors are
-- pseudonyms, and reasons are what the actor chose to say.
CREATE TABLE audit_entry (
  entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id text NOT NULL UNIQUE,
  service text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  tenant_id text,
  details jsonb NOT NULL,
  actor text NOT NULL,
  request_id text NOT NULL,
  reason text,
  changed_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL
);
CREATE INDEX audit_entry_by_subject ON audit_entry (subject, entry_id);
CREATE INDEX audit_entry_by_actor ON audit_entry (actor, entry_id);
CREATE INDEX audit_entry_by_tenant ON audit_entry (tenant_id, entry_id);

CREATE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is appended to, never edited', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_entry_is_appended_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();

-- Operators alone read it, over all tenants, which is the worker's right; a tenant's rows would be all that the API role
-- could ever be given.
CALL confine_to_tenant('audit_entry');
GRANT SELECT, INSERT ON audit_entry TO :"worker";
