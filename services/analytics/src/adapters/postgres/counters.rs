//! The counters: tables `funnel_by_partition`, `revenue_by_partition`, `best_sellers_by_partition`,
//! `time_to_confirm_by_partition`.
//!
//! Invariant: a transaction changes only rows of partitions whose positions it has locked, so that transactions of
//! different partitions don't wait for each other here. A redrive locks no position; it adds last, and sorted within a
//! table as all do, so that it may wait for a batch of its partition and can't deadlock.

use std::collections::BTreeMap;

use messaging::TopicPartition;
use sqlx::PgConnection;

use crate::domain::{Revenue, Sales, Tally};

/// What a transaction has counted, per partition.
pub(super) type Tallies = BTreeMap<TopicPartition, Tally>;

/// The rows of one counter: partitions, keys and what is added to each.
struct Rows<'a, K, V> {
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    keys: Vec<&'a K>,
    values: Vec<&'a V>,
}

impl<'a, K, V> Rows<'a, K, V> {
    fn of(tallies: &'a Tallies, counter: fn(&Tally) -> &BTreeMap<K, V>) -> Self {
        let mut rows =
            Self { topics: Vec::new(), partitions: Vec::new(), keys: Vec::new(), values: Vec::new() };
        for (id, tally) in tallies {
            for (key, value) in counter(tally) {
                rows.topics.push(&id.topic);
                rows.partitions.push(id.partition);
                rows.keys.push(key);
                rows.values.push(value);
            }
        }
        rows
    }

    fn keys<T>(&self, key: fn(&'a K) -> T) -> Vec<T> {
        self.keys.iter().map(|one| key(one)).collect()
    }

    fn values<T>(&self, value: fn(&V) -> T) -> Vec<T> {
        self.values.iter().map(|one| value(one)).collect()
    }

    /// Numbers of 128 bits are bound as text, which PostgreSQL turns into `numeric`.
    fn numerics(&self, figure: fn(&V) -> i128) -> Vec<String> {
        self.values.iter().map(|one| figure(one).to_string()).collect()
    }
}

/// Adds what a transaction has counted, to all counters in one statement. Each part waits for the end of the one before, by asking
/// for the number of its rows: the order of the tables is that of all transactions.
pub(super) async fn add(
    conn: &mut PgConnection,
    generation: i32,
    tallies: &Tallies,
) -> Result<(), sqlx::Error> {
    if tallies.values().all(|tally| *tally == Tally::default()) {
        return Ok(());
    }
    let funnel = Rows::of(tallies, |tally| &tally.funnel);
    let revenue = Rows::of(tallies, |tally| &tally.revenue);
    let sales = Rows::of(tallies, |tally| &tally.sales);
    let times = Rows::of(tallies, |tally| &tally.time_to_confirm);
    sqlx::query(
        "WITH funnel AS (
             INSERT INTO funnel_by_partition AS f (generation, stage, topic, partition, orders)
             SELECT $1, n.stage, n.topic, n.partition, n.orders
             FROM unnest($2::text[], $3::text[], $4::integer[], $5::bigint[]) AS n (stage, topic, partition, orders)
             ORDER BY n.stage, n.topic, n.partition
             ON CONFLICT (generation, stage, topic, partition) DO UPDATE SET orders = f.orders + excluded.orders
             RETURNING 1
         ), revenue AS (
             INSERT INTO revenue_by_partition AS r
                 (generation, currency, topic, partition, orders, units, revenue_minor)
             SELECT $1, n.currency, n.topic, n.partition, n.orders, n.units, n.minor
             FROM unnest($6::text[], $7::text[], $8::integer[], $9::bigint[], $10::text[]::numeric[],
                         $11::text[]::numeric[])
                 AS n (currency, topic, partition, orders, units, minor)
             WHERE (SELECT count(*) FROM funnel) >= 0
             ORDER BY n.currency, n.topic, n.partition
             ON CONFLICT (generation, currency, topic, partition) DO UPDATE
             SET orders = r.orders + excluded.orders, units = r.units + excluded.units,
                 revenue_minor = r.revenue_minor + excluded.revenue_minor
             RETURNING 1
         ), sales AS (
             INSERT INTO best_sellers_by_partition AS b
                 (generation, currency, sku, topic, partition, units, revenue_minor)
             SELECT $1, n.currency, n.sku, n.topic, n.partition, n.units, n.minor
             FROM unnest($12::text[], $13::text[], $14::text[], $15::integer[], $16::text[]::numeric[],
                         $17::text[]::numeric[])
                 AS n (currency, sku, topic, partition, units, minor)
             WHERE (SELECT count(*) FROM revenue) >= 0
             ORDER BY n.currency, n.sku, n.topic, n.partition
             ON CONFLICT (generation, currency, sku, topic, partition) DO UPDATE
             SET units = b.units + excluded.units, revenue_minor = b.revenue_minor + excluded.revenue_minor
             RETURNING 1
         )
         INSERT INTO time_to_confirm_by_partition AS t (generation, upper_bound_ms, topic, partition, orders)
         SELECT $1, n.upper_bound_ms, n.topic, n.partition, n.orders
         FROM unnest($18::bigint[], $19::text[], $20::integer[], $21::bigint[])
             AS n (upper_bound_ms, topic, partition, orders)
         WHERE (SELECT count(*) FROM sales) >= 0
         ORDER BY n.upper_bound_ms, n.topic, n.partition
         ON CONFLICT (generation, upper_bound_ms, topic, partition) DO UPDATE
         SET orders = t.orders + excluded.orders",
    )
    .bind(generation)
    .bind(funnel.keys(|stage| stage.name()))
    .bind(&funnel.topics)
    .bind(&funnel.partitions)
    .bind(funnel.values(|orders| *orders))
    .bind(revenue.keys(String::as_str))
    .bind(&revenue.topics)
    .bind(&revenue.partitions)
    .bind(revenue.values(|revenue| revenue.orders))
    .bind(revenue.numerics(|revenue: &Revenue| revenue.units))
    .bind(revenue.numerics(|revenue: &Revenue| revenue.revenue_minor))
    .bind(sales.keys(|(currency, _)| currency.as_str()))
    .bind(sales.keys(|(_, sku)| sku.as_str()))
    .bind(&sales.topics)
    .bind(&sales.partitions)
    .bind(sales.numerics(|sales: &Sales| sales.units))
    .bind(sales.numerics(|sales: &Sales| sales.revenue_minor))
    .bind(times.keys(|bound| bound.0))
    .bind(&times.topics)
    .bind(&times.partitions)
    .bind(times.values(|orders| *orders))
    .execute(conn)
    .await?;
    Ok(())
}
