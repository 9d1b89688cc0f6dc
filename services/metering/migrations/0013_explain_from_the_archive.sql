-- Routes list the events behind a total and explain single ones from the archive, so they read its manifest, which
-- names no tenant, and which records were set aside: where and why in a word, not what was in them (cause).
GRANT SELECT (lot_id, published_at) ON archive_lot TO :"api";
GRANT SELECT (topic_id, partition, start_offset, end_offset, lot_id) ON archive_range TO :"api";
GRANT SELECT ON archive_file TO :"api";
GRANT SELECT (consumer, topic_id, partition, record_offset, reason) ON dead_letter TO :"api";
GRANT SELECT (tenant_id, period, close_id, starts_at, ends_at) ON period_close TO :"api";
