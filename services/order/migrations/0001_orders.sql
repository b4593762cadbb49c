-- The head of each order's event stream: its lock, its counters and the state from which it decides.
-- Never deleted: the counters give the published sequence, and late facts must find their order.
CREATE TABLE orders (
    order_id           uuid        PRIMARY KEY,
    customer_id        text        NOT NULL,
    correlation_id     uuid        NOT NULL,
    traceparent        text,
    tracestate         text,
    version            bigint      NOT NULL CHECK (version > 0),
    published_sequence bigint      NOT NULL CHECK (published_sequence > 0),
    changed_at         timestamptz NOT NULL,
    currency           text        NOT NULL,
    total_minor        bigint      NOT NULL CHECK (total_minor >= 0),
    status             text        NOT NULL CHECK (status IN ('placed', 'confirmed', 'cancelled')),
    reason             text        CHECK (reason IN ('out_of_stock', 'payment_declined', 'customer_request', 'timed_out')),
    detail             text,
    due_at             timestamptz,
    ended_at           timestamptz,
    reservation_id     uuid,
    stock_rejected     boolean     NOT NULL,
    payment_id         uuid,
    payment_declined   boolean     NOT NULL,
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
    changed_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    placement   jsonb       NOT NULL
) WITH (fillfactor = 80);
-- Keyset pages, newest first: order ids are UUIDv7.
CREATE INDEX order_views_by_customer ON order_views (customer_id, order_id DESC);
CREATE INDEX order_views_by_status ON order_views (status, order_id DESC);

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
CREATE INDEX idempotency_keys_by_order ON idempotency_keys (order_id);

-- One row per open order: when its deadline passes.
CREATE TABLE timers (
    order_id uuid        PRIMARY KEY,
    due_at   timestamptz NOT NULL
);
CREATE INDEX timers_by_due_at ON timers (due_at);
