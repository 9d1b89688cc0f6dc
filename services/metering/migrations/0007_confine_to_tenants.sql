-- Routes only read. usage_event_id and usage_duplicate have no tenant: their key is a keyed hash of (tenant, source, id),
-- and a route computes it from the caller's own tenant.
CALL confine_to_tenant('usage_window');
CALL confine_to_tenant('usage_conflict');
CALL confine_to_tenant('usage_failure');
CALL confine_to_tenant('usage_adjustment');
CALL confine_to_tenant('gauge_sample');
CALL confine_to_tenant('gauge_resource');
CALL confine_to_tenant('gauge');
CALL confine_to_tenant('period_close');
ALTER VIEW usage_rollup SET (security_invoker = true);

GRANT SELECT ON usage_window, usage_rollup, usage_conflict, usage_failure, usage_adjustment, usage_event_id, usage_duplicate
  TO :"api";
GRANT SELECT (consumer, topic_id, partition, next, appended_at_ms) ON consumer_offset TO :"api";  -- for the watermark

GRANT SELECT ON usage_rollup, fingerprint_secret TO :"worker";
GRANT SELECT, INSERT ON gauge_sample, period_close TO :"worker";
GRANT SELECT, INSERT, UPDATE ON usage_window, usage_conflict, usage_adjustment, gauge_resource, gauge, close_request
  TO :"worker";
GRANT SELECT, INSERT, DELETE ON usage_event_id, usage_failure TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_duplicate TO :"worker";
GRANT SELECT, UPDATE ON published_epoch TO :"worker";
