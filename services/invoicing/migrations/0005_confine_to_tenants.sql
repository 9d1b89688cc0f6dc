-- Routes ask for closes and read how far these are, invoices and files; all else is the worker's.
CALL confine_to_tenant('tenant');
CALL confine_to_tenant('tenant_plan_assignment');
CALL confine_to_tenant('usage_window_copy');
CALL confine_to_tenant('close');
CALL confine_to_tenant('waiting_close');
CALL confine_to_tenant('invoices');

-- These have no tenant of their own: their rows are seen with the close or the invoice that they belong to, which the API
-- role sees by the policies above.
ALTER TABLE frozen_close ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON frozen_close TO :"api"
  USING (EXISTS (SELECT FROM close WHERE close.close_id = frozen_close.close_id)) WITH CHECK (false);
CREATE POLICY all_tenants ON frozen_close TO :"worker" USING (true) WITH CHECK (true);

ALTER TABLE frozen_window ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON frozen_window TO :"worker" USING (true) WITH CHECK (true);

ALTER TABLE invoice_file ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON invoice_file TO :"api"
  USING (EXISTS (SELECT FROM invoices WHERE invoices.id = invoice_file.invoice_id)) WITH CHECK (false);
CREATE POLICY all_tenants ON invoice_file TO :"worker" USING (true) WITH CHECK (true);

ALTER TABLE invoice_signature ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON invoice_signature TO :"api"
  USING (EXISTS (SELECT FROM invoices WHERE invoices.id = invoice_signature.invoice_id)) WITH CHECK (false);
CREATE POLICY all_tenants ON invoice_signature TO :"worker" USING (true) WITH CHECK (true);

GRANT SELECT ON tenant, tenant_plan_assignment, waiting_close, frozen_close, invoices, invoice_file, invoice_signature
  TO :"api";
GRANT SELECT (tenant_id, metric, window_start) ON usage_window_copy TO :"api";
GRANT SELECT, INSERT ON close TO :"api", :"worker";

GRANT SELECT, INSERT ON plan_version, frozen_close, frozen_window, invoices, invoice_file, invoice_signature TO :"worker";
GRANT SELECT, INSERT, UPDATE ON tenant, usage_window_copy, number_series TO :"worker";
GRANT SELECT, INSERT, DELETE ON tenant_plan_assignment TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON waiting_close TO :"worker";
