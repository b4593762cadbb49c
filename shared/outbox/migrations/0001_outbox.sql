-- The outbox: facts that were committed together with the state they announce.

-- CACHE 1 matters: ids drawn under an aggregate's lock must rise with its sequence, whichever connection draws them.
CREATE SEQUENCE outbox.message_ids AS bigint CACHE 1;

CREATE TABLE outbox.messages (
    id bigint PRIMARY KEY DEFAULT nextval('outbox.message_ids'),
    topic text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    occurred_at timestamptz NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    user_id text,
    traceparent text,
    tracestate text,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    -- Refuses a sequence given twice, and finds a row's predecessor. event_id has no unique index of its own: the
    -- ids are drawn, not chosen, and a third index would cost every append a page.
    UNIQUE (topic, key, sequence)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

ALTER SEQUENCE outbox.message_ids OWNED BY outbox.messages.id;

COMMENT ON COLUMN outbox.messages.finished_at IS
    'When a relay learned that the broker had acknowledged the row; null until then.';

-- What the polling relay reads: the unfinished rows of a topic in id order.
CREATE INDEX messages_unfinished ON outbox.messages (topic, id) WHERE finished_at IS NULL;

-- Keys that no relay publishes until a person has looked: delete the row to let the key go on.
CREATE TABLE outbox.stopped_keys (
    topic text NOT NULL,
    key text NOT NULL,
    message_id bigint NOT NULL,
    sequence bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('refused', 'gap')),
    reason text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, key)
);
