-- What each relay that leads or may lead reaches of the broker (docs/adr/0024): a leader that is cut off gives its lock to
-- one that is not. A row is a hint with an age; nothing is decided by its absence.
CREATE TABLE outbox.relays (
    relay     uuid        PRIMARY KEY,
    seen_at   timestamptz NOT NULL,
    unreached text[]      NOT NULL
);

COMMENT ON COLUMN outbox.relays.relay IS 'Drawn when the relay started.';
COMMENT ON COLUMN outbox.relays.seen_at IS 'When the relay wrote this, by the database''s clock.';
COMMENT ON COLUMN outbox.relays.unreached IS
    'The partitions, as topic/partition, whose leaders do not answer the relay.';
