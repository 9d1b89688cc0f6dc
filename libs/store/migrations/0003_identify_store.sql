-- Which store this is: a copy made from a backup has the same id, a store that was made anew has another.
ALTER TABLE store_epoch ADD COLUMN store_id uuid NOT NULL DEFAULT gen_random_uuid();
