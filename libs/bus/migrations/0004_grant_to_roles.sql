-- Offsets, sequences, dead letters and the relay are the worker's. The API role says things, and can neither read nor take
-- back what was said: an outbox row holds one tenant's words, and no tenant column to tell whose.
GRANT SELECT, INSERT, UPDATE, DELETE ON consumer_offset TO :"worker";
GRANT SELECT, INSERT, UPDATE ON consumer_instance, consumer_sequence, outbox_sequence TO :"worker";
GRANT SELECT, INSERT ON consumer_offset_reset TO :"worker";
GRANT SELECT, UPDATE ON relay_lease TO :"worker";
GRANT SELECT, INSERT, UPDATE (state, reason, cause, dead_at, taken_at), DELETE ON dead_letter TO :"worker";
GRANT SELECT, INSERT ON dead_letter_step TO :"worker";

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY only_said ON outbox FOR INSERT TO :"api" WITH CHECK (true);
CREATE POLICY all_tenants ON outbox TO :"worker" USING (true) WITH CHECK (true);
GRANT INSERT (topic, key, value, header_names, header_values, stamped, size_bytes) ON outbox TO :"api";
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO :"worker";
