-- An id is forgotten by the later of the event's time and the append of the batch that brought it: forgotten by the
-- event's time alone, a back-dated one loses its protection within a day. What stands already has its time only.
DROP INDEX usage_event_id_age;
ALTER TABLE usage_event_id ADD COLUMN kept_from_us bigint;
-- One pass that writes the table anew: an UPDATE would leave every row dead beside its copy.
ALTER TABLE usage_event_id ALTER COLUMN kept_from_us TYPE bigint USING time_us, ALTER COLUMN kept_from_us SET NOT NULL;
-- Rows are inserted about in this order, so a block range index of some kilobytes finds the old ones.
CREATE INDEX usage_event_id_kept ON usage_event_id USING brin (kept_from_us);
