-- One set of bytes per subject, one subject per number: of two that say different things about the same invoice, or give
-- two invoices the same number, the first that was signed stands. The version before signs on: its insert of a second one
-- violates the index, and the record is set aside. Writes wait while the indexes are built: a second for a million rows.
--
-- Where it fails, two of these were signed before there was the rule: docs/runbooks/dead-letters.md says what to do.
CREATE UNIQUE INDEX artifact_subject ON artifact (kind, subject_id);
CREATE UNIQUE INDEX artifact_number ON artifact (kind, number);
