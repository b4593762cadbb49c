-- One row per order holds all that payment knows of it. Rows are inserted before they are locked, and never deleted:
-- a cancelled order's row is the tombstone that keeps a late reservation from being charged.
CREATE TABLE payments (
    order_id              uuid PRIMARY KEY,
    payment_id            uuid NOT NULL UNIQUE,
    state                 text NOT NULL CHECK (state IN (
                              'unknown', 'awaiting_stock', 'awaiting_order',
                              'authorizing', 'checking_fraud', 'capturing',
                              'completed', 'declining', 'declined',
                              'resolving_authorization', 'resolving_capture', 'voiding', 'refunding',
                              'voided', 'refunded', 'cancelled')),
    -- Whether the provider may have been asked for the step that is due.
    call_state            text CHECK (call_state IN ('due', 'in_doubt')),
    amount_minor          bigint CHECK (amount_minor >= 0),
    currency              text,
    payment_method        text,
    authorization_id      text,
    capture_id            text,
    refund_id             uuid UNIQUE,
    refund_transaction_id text,
    decline_reason        text,
    -- The sequence of the last event published under this order's key: the outbox's order hangs on this row's lock.
    last_sequence         bigint NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    last_message_id       bigint,
    -- When a worker may take the saga's next step; null while nothing is due. Taking it moves this to the lease's end.
    due_at                timestamptz,
    lease_id              uuid,
    attempts              integer NOT NULL DEFAULT 0,
    -- What led to the present state; the events that follow from it inherit this.
    correlation_id        uuid,
    causation_id          uuid,
    user_id               text,
    traceparent           text,
    tracestate            text,
    updated_at            timestamptz NOT NULL,
    CONSTRAINT payments_last_message_check CHECK ((last_sequence = 0) = (last_message_id IS NULL)),
    CHECK ((amount_minor IS NULL) = (state IN ('unknown', 'awaiting_order', 'cancelled'))),
    CHECK ((currency IS NULL) = (amount_minor IS NULL) AND (payment_method IS NULL) = (amount_minor IS NULL)),
    CHECK ((call_state IS NOT NULL) = (state IN (
        'authorizing', 'checking_fraud', 'capturing', 'declining',
        'resolving_authorization', 'resolving_capture', 'voiding', 'refunding'))),
    CHECK ((due_at IS NOT NULL) = (call_state IS NOT NULL)),
    CHECK (lease_id IS NULL OR due_at IS NOT NULL),
    CHECK (state NOT IN ('completed', 'refunding', 'refunded') OR capture_id IS NOT NULL),
    CHECK ((state = 'refunded') = (refund_id IS NOT NULL)),
    CHECK ((state IN ('declining', 'declined')) = (decline_reason IS NOT NULL))
);

CREATE INDEX payments_due_at_idx ON payments (due_at) WHERE due_at IS NOT NULL;
