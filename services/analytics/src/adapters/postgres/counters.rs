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

/// Adds what a transaction has counted.
pub(super) async fn add(
    conn: &mut PgConnection,
    generation: i32,
    tallies: &Tallies,
) -> Result<(), sqlx::Error> {
    if tallies.values().any(|tally| !tally.funnel.is_empty()) {
        add_funnel(&mut *conn, generation, tallies).await?;
    }
    if tallies.values().any(|tally| !tally.revenue.is_empty()) {
        add_revenue(&mut *conn, generation, tallies).await?;
        add_sales(&mut *conn, generation, tallies).await?;
        add_times(conn, generation, tallies).await?;
    }
    Ok(())
}

async fn add_funnel(conn: &mut PgConnection, generation: i32, tallies: &Tallies) -> Result<(), sqlx::Error> {
    let rows = Rows::of(tallies, |tally| &tally.funnel);
    sqlx::query(
        "INSERT INTO funnel_by_partition AS f (generation, stage, topic, partition, orders)
         SELECT $1, n.stage, n.topic, n.partition, n.orders
         FROM unnest($2::text[], $3::text[], $4::integer[], $5::bigint[]) AS n (stage, topic, partition, orders)
         ORDER BY n.stage, n.topic, n.partition
         ON CONFLICT (generation, stage, topic, partition) DO UPDATE SET orders = f.orders + excluded.orders",
    )
    .bind(generation)
    .bind(rows.keys(|stage| stage.name()))
    .bind(&rows.topics)
    .bind(&rows.partitions)
    .bind(rows.values(|orders| *orders))
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_revenue(conn: &mut PgConnection, generation: i32, tallies: &Tallies) -> Result<(), sqlx::Error> {
    let rows = Rows::of(tallies, |tally| &tally.revenue);
    sqlx::query(
        "INSERT INTO revenue_by_partition AS r
             (generation, currency, topic, partition, orders, units, revenue_minor)
         SELECT $1, n.currency, n.topic, n.partition, n.orders, n.units, n.minor
         FROM unnest($2::text[], $3::text[], $4::integer[], $5::bigint[], $6::text[]::numeric[],
                     $7::text[]::numeric[])
             AS n (currency, topic, partition, orders, units, minor)
         ORDER BY n.currency, n.topic, n.partition
         ON CONFLICT (generation, currency, topic, partition) DO UPDATE
         SET orders = r.orders + excluded.orders, units = r.units + excluded.units,
             revenue_minor = r.revenue_minor + excluded.revenue_minor",
    )
    .bind(generation)
    .bind(rows.keys(String::as_str))
    .bind(&rows.topics)
    .bind(&rows.partitions)
    .bind(rows.values(|revenue| revenue.orders))
    .bind(rows.numerics(|revenue: &Revenue| revenue.units))
    .bind(rows.numerics(|revenue: &Revenue| revenue.revenue_minor))
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_sales(conn: &mut PgConnection, generation: i32, tallies: &Tallies) -> Result<(), sqlx::Error> {
    let rows = Rows::of(tallies, |tally| &tally.sales);
    sqlx::query(
        "INSERT INTO best_sellers_by_partition AS b
             (generation, currency, sku, topic, partition, units, revenue_minor)
         SELECT $1, n.currency, n.sku, n.topic, n.partition, n.units, n.minor
         FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::text[]::numeric[],
                     $7::text[]::numeric[])
             AS n (currency, sku, topic, partition, units, minor)
         ORDER BY n.currency, n.sku, n.topic, n.partition
         ON CONFLICT (generation, currency, sku, topic, partition) DO UPDATE
         SET units = b.units + excluded.units, revenue_minor = b.revenue_minor + excluded.revenue_minor",
    )
    .bind(generation)
    .bind(rows.keys(|(currency, _)| currency.as_str()))
    .bind(rows.keys(|(_, sku)| sku.as_str()))
    .bind(&rows.topics)
    .bind(&rows.partitions)
    .bind(rows.numerics(|sales: &Sales| sales.units))
    .bind(rows.numerics(|sales: &Sales| sales.revenue_minor))
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_times(conn: &mut PgConnection, generation: i32, tallies: &Tallies) -> Result<(), sqlx::Error> {
    let rows = Rows::of(tallies, |tally| &tally.time_to_confirm);
    sqlx::query(
        "INSERT INTO time_to_confirm_by_partition AS t (generation, upper_bound_ms, topic, partition, orders)
         SELECT $1, n.upper_bound_ms, n.topic, n.partition, n.orders
         FROM unnest($2::bigint[], $3::text[], $4::integer[], $5::bigint[])
             AS n (upper_bound_ms, topic, partition, orders)
         ORDER BY n.upper_bound_ms, n.topic, n.partition
         ON CONFLICT (generation, upper_bound_ms, topic, partition) DO UPDATE
         SET orders = t.orders + excluded.orders",
    )
    .bind(generation)
    .bind(rows.keys(|bound| bound.0))
    .bind(&rows.topics)
    .bind(&rows.partitions)
    .bind(rows.values(|orders| *orders))
    .execute(conn)
    .await?;
    Ok(())
}
