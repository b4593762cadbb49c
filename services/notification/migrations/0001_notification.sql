-- What each order's customer should know. Rows are inserted before they are locked, and never deleted: a fact that
-- arrives before its order waits here. No personal data in this table.
CREATE TABLE orders (
    order_id            uuid PRIMARY KEY,
    -- Whether somebody is to be told: unknown until OrderPlaced says so.
    recipient_status    text NOT NULL DEFAULT 'unknown' CHECK (recipient_status IN ('unknown', 'absent', 'present')),
    total_minor         bigint,
    currency            text,
    status              text CHECK (status IN ('confirmed', 'cancelled')),
    cancellation_reason text,
    refunded_minor      bigint,
    refund_currency     text,
    updated_at          timestamptz NOT NULL,
    CHECK ((recipient_status = 'unknown') = (total_minor IS NULL) AND (total_minor IS NULL) = (currency IS NULL)),
    CHECK ((status IS NOT DISTINCT FROM 'cancelled') = (cancellation_reason IS NOT NULL)),
    CHECK ((refunded_minor IS NULL) = (refund_currency IS NULL))
);

-- The mails: the only place that holds personal data. One of each kind per order, so that an effect happens once.
CREATE TABLE mails (
    order_id        uuid NOT NULL REFERENCES orders,
    kind            text NOT NULL CHECK (kind IN
                        ('order_received', 'order_confirmed', 'order_cancelled', 'payment_refunded')),
    -- Drawn from the order and the kind, so that a mail sent twice is recognised as one.
    message_id      text NOT NULL UNIQUE,
    recipient_name  text NOT NULL,
    recipient_email text NOT NULL,
    subject         text NOT NULL,
    body_text       text NOT NULL,
    body_html       text NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    -- Where it went: to the SMTP server, or nowhere (`none`) because none is configured.
    transport       text CHECK (transport IN ('smtp', 'none')),
    -- Why the last attempt failed, as a code without personal data.
    last_error      text,
    attempts        integer NOT NULL DEFAULT 0,
    -- When it may be sent; taking it moves this to the lease's end.
    due_at          timestamptz,
    lease_id        uuid,
    traceparent     text,
    tracestate      text,
    created_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    PRIMARY KEY (order_id, kind),
    CHECK ((due_at IS NOT NULL) = (state = 'pending')),
    CHECK ((completed_at IS NULL) = (state = 'pending')),
    CHECK ((transport IS NOT NULL) = (state = 'sent'))
);

CREATE INDEX mails_due_at_idx ON mails (due_at) WHERE due_at IS NOT NULL;
