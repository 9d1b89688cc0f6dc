-- Invoices that we told of on `invoices` and that this store does not have: it was restored to a time before them. They are
-- issued again as they were, and nobody else gets their numbers. A store that never went back keeps no row here.
CREATE TABLE told_invoice (
  invoice_id text PRIMARY KEY,
  tenant_id text NOT NULL,
  number text NOT NULL,
  manifest_sha char(64) NOT NULL,
  issued_at timestamptz NOT NULL
);
CREATE TRIGGER never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON told_invoice EXECUTE FUNCTION refuse_change();
CALL confine_to_tenant('told_invoice');
GRANT SELECT, INSERT ON told_invoice TO :"worker";
