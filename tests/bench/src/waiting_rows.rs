//! Rows of an outbox: inserted at once, then published by order's relay while somebody counts.

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgConnection;
use tidings::services::ServiceName;
use tokio::time::{Instant, sleep};

use crate::cost::{Cost, Used};
use crate::deployment::Deployment;
use crate::load::Connection;
use crate::processes::{Memory, memory};
use crate::servers::Servers;
use crate::service_process::ServiceProcess;

/// What the relay counts.
const PUBLISHED: &str = "outbox_messages_published_total{";
/// How often it is asked.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long no row may be published before it is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes of a row's value.
pub(crate) const VALUE_BYTES: usize = 300;
/// Messages of each key.
pub(crate) const PER_KEY: u64 = 2;

/// What publishing came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) cost: Cost,
    pub(crate) memory: Memory,
}

/// The messages of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    /// How many there are.
    pub(crate) messages: u64,
    /// How many rows lie from one to the next: 1 if they follow each other.
    pub(crate) step: u64,
}

/// Creates order's database and its tables; order does not run afterwards.
pub(crate) async fn prepare(servers: &Servers, prefix: &str) -> anyhow::Result<()> {
    servers.create_databases([ServiceName::Order]).await?;
    ServiceProcess::start(servers, ServiceName::Order, &Deployment::new(prefix)).await?.stop().await
}

/// Inserts so many rows for the topic of orders, two of each key with all others in between.
pub(crate) async fn insert(conn: &mut PgConnection, prefix: &str, rows: u64) -> anyhow::Result<()> {
    let rows = rows - rows % PER_KEY;
    insert_as(conn, prefix, rows, Keys { messages: PER_KEY, step: (rows / PER_KEY).max(1) }).await
}

/// Inserts so many rows for the topic of orders, as order appends them.
pub(crate) async fn insert_as(
    conn: &mut PgConnection,
    prefix: &str,
    rows: u64,
    keys: Keys,
) -> anyhow::Result<()> {
    let count = i64::try_from(rows)?;
    let first: i64 = sqlx::query_scalar("SELECT nextval('outbox.message_ids')").fetch_one(&mut *conn).await?;
    sqlx::query("SELECT setval('outbox.message_ids', $1 + $2)")
        .bind(first)
        .bind(count)
        .execute(&mut *conn)
        .await?;
    // A table partition for each million ids, and four ahead.
    sqlx::query("SELECT outbox.add_table_partitions(4)").execute(&mut *conn).await?;
    sqlx::query(
        "INSERT INTO outbox.messages (id, previous_id, topic, key, sequence, value, event_id, event_type, source,
             subject, event_time, correlation_id)
         SELECT $1 + n, CASE WHEN number > 0 THEN $1 + n - $5 END, $3, convert_to(subject, 'UTF8'),
             number + 1, value, gen_random_uuid(), 'tidings.order.OrderPlaced', 'order',
             subject, now(), correlation_id
         FROM generate_series(0, $2 - 1) AS n,
             LATERAL (SELECT n % ($4 * $5) / $5 AS number,
                 lpad(to_hex($1 + n / ($4 * $5) * $5 + n % $5), 32, '0')::uuid AS correlation_id) AS id,
             LATERAL (SELECT correlation_id::text AS subject,
                 convert_to(md5(n::text || 'a') || md5(n::text || 'b') || md5(n::text || 'c') || repeat('v', 204), 'UTF8')
                     AS value) AS row",
    )
    .bind(first)
    .bind(count)
    .bind(format!("{prefix}.orders"))
    .bind(i64::try_from(keys.messages)?)
    .bind(i64::try_from(keys.step)?)
    .execute(&mut *conn)
    .await
    .context("inserting rows into the outbox")?;
    Ok(())
}

/// Marks all rows finished, as the relay does.
pub(crate) async fn finish(conn: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("UPDATE outbox.messages SET finished_at = clock_timestamp() WHERE finished_at IS NULL")
        .execute(conn)
        .await?;
    Ok(())
}

/// Starts order and counts what its relay publishes, from the first count that it gives to the last of `rows`.
///
/// # Errors
/// When nothing is published for a minute.
pub(crate) async fn publish(
    servers: &Servers,
    deployment: &Deployment,
    rows: u64,
) -> anyhow::Result<Published> {
    let order = ServiceProcess::spawn(servers, ServiceName::Order, deployment).await?;
    let rows = rows - rows % PER_KEY;
    let mut connection = connect(&order).await?;
    let (first, began) = (count(&mut connection).await?, Instant::now());
    let used = Used::now(servers, &[order.pid]);
    let (mut last, mut moved_at) = (first, Instant::now());
    while last < rows {
        sleep(LOOK_AGAIN).await;
        let now = count(&mut connection).await?;
        if now > last {
            (last, moved_at) = (now, Instant::now());
        } else if moved_at.elapsed() >= STALL_TIMEOUT {
            bail!("order has published {last} of {rows} rows, and no more for {} s", STALL_TIMEOUT.as_secs());
        }
    }
    let cost = used.cost((last - first) as f64, began.elapsed());
    let published = Published { cost, memory: memory(order.pid) };
    order.check()?;
    order.stop().await?;
    Ok(published)
}

/// A connection to a service that may just be starting.
pub(crate) async fn connect(order: &ServiceProcess) -> anyhow::Result<Connection> {
    let began = Instant::now();
    loop {
        match Connection::open(order.address).await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() >= STALL_TIMEOUT => return Err(error),
            Err(_) => sleep(Duration::from_millis(2)).await,
        }
    }
}

/// How many rows order has published.
pub(crate) async fn count(connection: &mut Connection) -> anyhow::Result<u64> {
    let page = connection.get("/metrics").await?.unwrap_or_default();
    Ok(sum(&String::from_utf8_lossy(&page), PUBLISHED, ""))
}

/// The sum of a counter's samples that have this label.
pub(crate) fn sum(page: &str, counter: &str, label: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(counter) && line.contains(label));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_is_the_sum_over_topics() {
        let page = "# TYPE outbox_messages_published_total counter\n\
            outbox_messages_published_total{topic=\"a.orders\"} 12\n\
            outbox_messages_published_total{topic=\"b\"} 30\noutbox_stalled_partitions{topic=\"b\"} 7\n";
        assert_eq!(sum(page, PUBLISHED, ""), 42);
        assert_eq!(sum(page, PUBLISHED, "topic=\"b\""), 30);
    }
}
