-- Routes read the catalogue and say who is on which plan; the catalogue and the gauges are the worker's.
CALL confine_to_tenant('tenant_plan');
CALL confine_to_tenant('tenant_plan_history');
CALL confine_to_tenant('storage_gauge');
GRANT SELECT ON plans, plan_version, storage_gauge TO :"api";
GRANT SELECT, INSERT, UPDATE (plan_id, version, effective_at) ON tenant_plan TO :"api", :"worker";
GRANT SELECT, INSERT, UPDATE (withdrawn_at) ON tenant_plan_history TO :"api";
GRANT SELECT, INSERT ON tenant_plan_history, plan_version TO :"worker";
GRANT SELECT, INSERT, UPDATE (name, limits, price_map, currency, version) ON plans TO :"worker";
GRANT SELECT, INSERT, UPDATE ON storage_gauge TO :"worker";
