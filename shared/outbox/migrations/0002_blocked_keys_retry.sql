-- What the broker refused is tried again by itself (docs/adr/0029).
ALTER TABLE outbox.blocked_keys
    ADD COLUMN attempts integer NOT NULL DEFAULT 1,
    ADD COLUMN retry_at timestamptz;

COMMENT ON COLUMN outbox.blocked_keys.attempts IS 'How often the broker has refused the message.';
COMMENT ON COLUMN outbox.blocked_keys.retry_at IS
    'When the relay tries a rejected message again, and lets its key go on if the broker takes it: null is at once, infinity '
    'never. A gap waits until its row is deleted.';
