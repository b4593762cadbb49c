-- What each order's customer should know. Rows are inserted before they are locked, and never deleted: a fact that
-- arrives before its order waits here. No personal data in this table.
CREATE TABLE orders (
    order_id            uuid PRIMARY KEY,
    -- Whether somebody is to be told: unknown until OrderPlaced says so.
    addressee           text NOT NULL DEFAULT 'unknown' CHECK (addressee IN ('unknown', 'nobody', 'somebody')),
    total_minor         bigint,
    currency            text,
    ended               text CHECK (ended IN ('confirmed', 'cancelled')),
    cancellation_reason text,
    refunded_minor      bigint,
    refund_currency     text,
    updated_at          timestamptz NOT NULL,
    CHECK ((addressee = 'unknown') = (total_minor IS NULL) AND (total_minor IS NULL) = (currency IS NULL)),
    CHECK ((ended IS NOT DISTINCT FROM 'cancelled') = (cancellation_reason IS NOT NULL)),
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
    -- Where it went: to the SMTP server, or nowhere because none is configured.
    delivered_to    text CHECK (delivered_to IN ('smtp', 'sink')),
    -- Why the last attempt failed, as a code without personal data.
    last_error      text,
    attempts        integer NOT NULL DEFAULT 0,
    -- When it may be sent; taking it moves this to the lease's end.
    due_at          timestamptz,
    lease_id        uuid,
    traceparent     text,
    tracestate      text,
    created_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    PRIMARY KEY (order_id, kind),
    CHECK ((due_at IS NOT NULL) = (state = 'pending')),
    CHECK ((ended_at IS NULL) = (state = 'pending')),
    CHECK ((delivered_to IS NOT NULL) = (state = 'sent'))
);

CREATE INDEX mails_due ON mails (due_at) WHERE due_at IS NOT NULL;
