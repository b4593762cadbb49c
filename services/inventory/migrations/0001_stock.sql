-- What is kept, and for which order it is held.

-- One row per SKU, never deleted: last_sequence numbers the SKU's events for ever.
-- Sorted bytewise, so that pages and locks follow the same order in every installation.
CREATE TABLE stock (
    sku               text   COLLATE "C" PRIMARY KEY,
    replenished       bigint NOT NULL DEFAULT 0 CHECK (replenished >= 0),
    available         bigint NOT NULL DEFAULT 0 CHECK (available >= 0),
    reserved          bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    committed         bigint NOT NULL DEFAULT 0 CHECK (committed >= 0),
    reorder_threshold bigint NOT NULL CHECK (reorder_threshold >= 0),
    last_sequence     bigint NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    last_message_id   bigint,
    CONSTRAINT stock_units_balance_check CHECK (replenished = available + reserved + committed),
    CONSTRAINT stock_last_message_check CHECK ((last_sequence = 0) = (last_message_id IS NULL))
);

-- One row per order, never deleted: everything that inventory knows of it, a tombstone included.
CREATE TABLE reservations (
    order_id        uuid   PRIMARY KEY,
    reservation_id  uuid   NOT NULL,
    state           text   NOT NULL DEFAULT 'unknown'
        CHECK (state IN ('unknown', 'reserved', 'rejected', 'committed', 'released', 'cancelled_before_placed')),
    -- Units per SKU: {"85123A": 6, ...}.
    lines           jsonb  CHECK (jsonb_typeof(lines) = 'object'),
    last_sequence   bigint NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    last_message_id bigint,
    CONSTRAINT reservations_last_message_check CHECK ((last_sequence = 0) = (last_message_id IS NULL)),
    CONSTRAINT reservations_lines_state_check
        CHECK ((lines IS NOT NULL) = (state IN ('reserved', 'committed', 'released')))
);

-- One row per Idempotency-Key: what was asked, and the answer that a repetition gets.
CREATE TABLE replenishments (
    idempotency_key   text        COLLATE "C" PRIMARY KEY,
    sku               text        COLLATE "C" NOT NULL REFERENCES stock,
    quantity          bigint      NOT NULL CHECK (quantity > 0),
    reorder_threshold bigint,
    created_sku       boolean     NOT NULL,
    level_after       jsonb       NOT NULL,
    occurred_at       timestamptz NOT NULL
);
