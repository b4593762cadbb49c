-- What happened, counted once. Every row belongs to a generation: readers see the live one, and a rebuild fills the next
-- beside it.

CREATE TABLE generations (
    generation integer     PRIMARY KEY CHECK (generation > 0),
    state      text        NOT NULL CHECK (state IN ('building', 'live', 'retired', 'failed')),
    started_at timestamptz NOT NULL,
    live_since timestamptz,
    -- Why it failed.
    detail     text CHECK ((detail IS NOT NULL) = (state = 'failed'))
);
CREATE UNIQUE INDEX generations_live_idx ON generations (state) WHERE state = 'live';
CREATE UNIQUE INDEX generations_building_idx ON generations (state) WHERE state = 'building';
INSERT INTO generations (generation, state, started_at, live_since) VALUES (1, 'live', now(), now());

-- One row per order: what is known of it, so that each of its milestones is counted once in any order of arrival.
CREATE TABLE orders (
    generation   integer NOT NULL,
    order_id     uuid    NOT NULL,
    status       text    NOT NULL DEFAULT 'unknown' CHECK (status IN
        ('unknown', 'placed', 'confirmed_before_placed', 'confirmed', 'cancelled_before_placed', 'cancelled')),
    reserved     boolean NOT NULL DEFAULT false,
    paid         boolean NOT NULL DEFAULT false,
    -- Remembered while the order is open: [{"sku": ..., "quantity": ..., "unit_price_minor": ...}, ...].
    currency     text,
    lines        jsonb,
    placed_at    timestamptz,
    confirmed_at timestamptz,
    reason       text CHECK (reason IN
        ('out_of_stock', 'payment_declined', 'customer_request', 'timed_out', 'unknown')),
    PRIMARY KEY (generation, order_id),
    CONSTRAINT orders_placed_check CHECK (
        (status = 'placed') = (currency IS NOT NULL AND lines IS NOT NULL AND placed_at IS NOT NULL)),
    CONSTRAINT orders_confirmed_at_check CHECK ((status = 'confirmed_before_placed') = (confirmed_at IS NOT NULL)),
    CONSTRAINT orders_cancelled_reason_check CHECK (
        (status IN ('cancelled', 'cancelled_before_placed')) = (reason IS NOT NULL))
);

-- Orders per stage.
CREATE TABLE funnel (
    generation integer NOT NULL,
    stage      text    COLLATE "C" NOT NULL,
    orders     bigint  NOT NULL CHECK (orders > 0),
    PRIMARY KEY (generation, stage)
) WITH (fillfactor = 50);

-- Confirmed orders per currency.
CREATE TABLE revenue (
    generation    integer NOT NULL,
    currency      text    COLLATE "C" NOT NULL,
    orders        bigint  NOT NULL CHECK (orders > 0),
    units         bigint  NOT NULL,
    revenue_minor bigint  NOT NULL,
    PRIMARY KEY (generation, currency)
) WITH (fillfactor = 50);

-- Confirmed sales per currency and SKU: amounts of different currencies are never added.
CREATE TABLE best_sellers (
    generation    integer NOT NULL,
    currency      text    COLLATE "C" NOT NULL,
    sku           text    COLLATE "C" NOT NULL,
    units         bigint  NOT NULL,
    revenue_minor bigint  NOT NULL,
    PRIMARY KEY (generation, currency, sku)
) WITH (fillfactor = 70);

-- Confirmed orders by the time from placed to confirmed: each bucket is known by its upper bound.
CREATE TABLE time_to_confirm (
    generation     integer NOT NULL,
    upper_bound_ms bigint  NOT NULL CHECK (upper_bound_ms >= 0),
    orders         bigint  NOT NULL CHECK (orders > 0),
    PRIMARY KEY (generation, upper_bound_ms)
) WITH (fillfactor = 50);

-- One row per SKU: whether it is low, by the last of its numbered events.
CREATE TABLE stock_alerts (
    generation   integer NOT NULL,
    sku          text    COLLATE "C" NOT NULL,
    sequence     bigint  NOT NULL DEFAULT 0,
    available    bigint  NOT NULL DEFAULT 0,
    threshold    bigint  NOT NULL DEFAULT 0,
    raised_at    timestamptz,
    times_raised bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (generation, sku)
);
CREATE INDEX stock_alerts_raised_at_idx ON stock_alerts (generation, raised_at DESC, sku) WHERE raised_at IS NOT NULL;

-- How far a generation in the making has read each partition; the live one's positions are the inbox's.
CREATE TABLE rebuild_positions (
    generation  integer NOT NULL REFERENCES generations,
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (generation, topic, partition)
);

-- The dead letters that a generation in the making has left out, by the ids under which the inbox knows them. One that
-- was redriven since has to be counted too, so the generation is not swapped in then.
CREATE TABLE rebuild_dead_letters (
    generation integer NOT NULL REFERENCES generations,
    event_id   uuid    NOT NULL,
    PRIMARY KEY (generation, event_id)
);
