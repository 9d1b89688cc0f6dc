-- The level of a tenant is the sum over its resources, each up to 18 digits: ten of them exceed a bigint.
ALTER TABLE usage_window ALTER COLUMN last_gauge TYPE numeric(38, 0);
