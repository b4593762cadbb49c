-- Counters with a row per partition of the topics whose events change them. The transaction that changes a row has locked
-- that partition's position, so it waits for no other partition's transaction. A counter is the sum of its rows, and a
-- row alone may be below zero. The previous release reads and adds to the tables without partitions, whose rows are part
-- of the sums.

CREATE TABLE funnel_by_partition (
    generation integer NOT NULL,
    stage      text    COLLATE "C" NOT NULL,
    topic      text    COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    orders     bigint  NOT NULL,
    PRIMARY KEY (generation, stage, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE revenue_by_partition (
    generation    integer NOT NULL,
    currency      text    COLLATE "C" NOT NULL,
    topic         text    COLLATE "C" NOT NULL,
    partition     integer NOT NULL,
    orders        bigint  NOT NULL,
    units         numeric NOT NULL,
    revenue_minor numeric NOT NULL,
    PRIMARY KEY (generation, currency, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE best_sellers_by_partition (
    generation    integer NOT NULL,
    currency      text    COLLATE "C" NOT NULL,
    sku           text    COLLATE "C" NOT NULL,
    topic         text    COLLATE "C" NOT NULL,
    partition     integer NOT NULL,
    units         numeric NOT NULL,
    revenue_minor numeric NOT NULL,
    PRIMARY KEY (generation, currency, sku, topic, partition)
) WITH (fillfactor = 70);

CREATE TABLE time_to_confirm_by_partition (
    generation     integer NOT NULL,
    upper_bound_ms bigint  NOT NULL CHECK (upper_bound_ms >= 0),
    topic          text    COLLATE "C" NOT NULL,
    partition      integer NOT NULL,
    orders         bigint  NOT NULL,
    PRIMARY KEY (generation, upper_bound_ms, topic, partition)
) WITH (fillfactor = 50);

-- What readers see.

CREATE VIEW funnel_totals AS
SELECT generation, stage, sum(orders) AS orders
FROM (SELECT generation, stage, orders FROM funnel
      UNION ALL
      SELECT generation, stage, orders FROM funnel_by_partition) AS parts
GROUP BY generation, stage;

CREATE VIEW revenue_totals AS
SELECT generation, currency, sum(orders) AS orders, sum(units) AS units, sum(revenue_minor) AS revenue_minor
FROM (SELECT generation, currency, orders, units_carried + units AS units,
          revenue_minor_carried + revenue_minor AS revenue_minor FROM revenue
      UNION ALL
      SELECT generation, currency, orders, units, revenue_minor FROM revenue_by_partition) AS parts
GROUP BY generation, currency;

CREATE VIEW best_sellers_totals AS
SELECT generation, currency, sku, sum(units) AS units, sum(revenue_minor) AS revenue_minor
FROM (SELECT generation, currency, sku, units_carried + units AS units,
          revenue_minor_carried + revenue_minor AS revenue_minor FROM best_sellers
      UNION ALL
      SELECT generation, currency, sku, units, revenue_minor FROM best_sellers_by_partition) AS parts
GROUP BY generation, currency, sku;

CREATE VIEW time_to_confirm_totals AS
SELECT generation, upper_bound_ms, sum(orders) AS orders
FROM (SELECT generation, upper_bound_ms, orders FROM time_to_confirm
      UNION ALL
      SELECT generation, upper_bound_ms, orders FROM time_to_confirm_by_partition) AS parts
GROUP BY generation, upper_bound_ms;
