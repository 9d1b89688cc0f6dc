"""Hello-Tenant: three tenants use a small application; every call becomes usage, a line of an invoice, and a proof."""
