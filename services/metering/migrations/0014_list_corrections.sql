-- Lists of all tenants' corrections, the newest first: a list of events that was voided has as many rows as it had events.
CREATE INDEX usage_correction_newest ON usage_correction (requested_at, correction_id);
