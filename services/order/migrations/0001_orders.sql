-- The head of each order's event stream: its lock, its counters and the state from which it decides.
-- Never deleted: the counters give the sequence of its events, and late facts must find their order.
CREATE TABLE orders (
    order_id         uuid        PRIMARY KEY,
    customer_id      text        NOT NULL,
    correlation_id   uuid        NOT NULL,
    traceparent      text,
    tracestate       text,
    version          bigint      NOT NULL CHECK (version > 0),
    last_sequence    bigint      NOT NULL CHECK (last_sequence > 0),
    last_message_id  bigint      NOT NULL,
    updated_at       timestamptz NOT NULL,
    currency         text        NOT NULL,
    total_minor      bigint      NOT NULL CHECK (total_minor >= 0),
    status           text        NOT NULL CHECK (status IN ('placed', 'confirmed', 'cancelled')),
    reason           text        CHECK (reason IN ('out_of_stock', 'payment_declined', 'customer_request', 'timed_out')),
    detail           text,
    due_at           timestamptz,
    ended_at         timestamptz,
    reservation_id   uuid,
    stock_rejected   boolean     NOT NULL,
    payment_id       uuid,
    payment_declined boolean     NOT NULL,
    CHECK ((status = 'cancelled') = (reason IS NOT NULL)),
    CHECK ((status = 'placed') = (ended_at IS NULL)),
    CHECK (status <> 'confirmed' OR payment_id IS NOT NULL)
) WITH (fillfactor = 70);

-- What happened to each order, in its own words and in order.
CREATE TABLE order_events (
    order_id       uuid        NOT NULL REFERENCES orders (order_id),
    version        bigint      NOT NULL CHECK (version > 0),
    type           text        NOT NULL,
    schema_version integer     NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    occurred_at    timestamptz NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- The read model behind GET /orders: the content, which never changes, and how far the order got.
CREATE TABLE order_views (
    order_id    uuid        PRIMARY KEY,
    customer_id text        NOT NULL,
    version     bigint      NOT NULL,
    status      text        NOT NULL,
    stage       text        NOT NULL,
    reason      text,
    detail      text,
    payment_id  uuid,
    currency    text        NOT NULL,
    total_minor bigint      NOT NULL,
    placed_at   timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    placement   jsonb       NOT NULL
) WITH (fillfactor = 80);
-- Keyset pages, newest first: order ids are UUIDv7.
CREATE INDEX order_views_customer_id_order_id_idx ON order_views (customer_id, order_id DESC);
CREATE INDEX order_views_status_order_id_idx ON order_views (status, order_id DESC);

-- Which request placed which order, with the answer that was given. Lives as long as the order.
CREATE TABLE idempotency_keys (
    customer_id text     NOT NULL,
    key         text     NOT NULL,
    request     jsonb    NOT NULL,
    order_id    uuid     NOT NULL,
    status_code smallint NOT NULL,
    etag        text     NOT NULL,
    body        text     NOT NULL,
    PRIMARY KEY (customer_id, key)
);
CREATE INDEX idempotency_keys_order_id_idx ON idempotency_keys (order_id);

-- One row per open order: when its deadline passes, and when to look at it (docs/adr/0022).
CREATE TABLE deadlines (
    order_id    uuid        PRIMARY KEY,
    deadline_at timestamptz NOT NULL,
    look_at     timestamptz NOT NULL,
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delayed', 'armed', 'blocked'))
);
CREATE INDEX deadlines_look_at_idx ON deadlines (look_at, order_id);
