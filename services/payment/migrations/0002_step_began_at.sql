-- Since when the present step of a payment is to be done, whatever attempts it has had: `due_at` moves with each of them.
-- The previous release neither reads nor writes this column; a step that it begins counts from its first write by this one.
ALTER TABLE payments ADD COLUMN step_began_at timestamptz;
UPDATE payments SET step_began_at = updated_at WHERE due_at IS NOT NULL;
CREATE INDEX payments_step_began_at_idx ON payments (step_began_at) WHERE due_at IS NOT NULL;
