-- Exactly one row: which life of this database the sequences belong to that leave it.
CREATE TABLE store_epoch (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  epoch bigint NOT NULL CHECK (epoch >= 1),
  reason text NOT NULL,
  raised_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO store_epoch (epoch, reason) VALUES (1, 'created');
