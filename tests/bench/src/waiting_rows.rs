//! Rows of an outbox: inserted at once, then published by order's relay while somebody counts.

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgConnection;
use tidings::services::ServiceName;
use tokio::time::{Instant, sleep};

use crate::load::Connection;
use crate::processes::{Memory, cpu_seconds, memory};
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
    pub(crate) per_second: f64,
    /// Microseconds of the service's CPU time for a row.
    pub(crate) cpu_us: f64,
    pub(crate) memory: Memory,
}

/// Creates order's database and its tables; order does not run afterwards.
pub(crate) async fn prepare(servers: &Servers, prefix: &str) -> anyhow::Result<()> {
    let mut server = servers.connect("postgres").await?;
    sqlx::query("CREATE DATABASE tidings_order").execute(&mut server).await?;
    ServiceProcess::start(servers, ServiceName::Order, prefix).await?.stop().await
}

/// Inserts so many rows for the topic of orders, two of each key, as order appends them.
pub(crate) async fn insert(conn: &mut PgConnection, prefix: &str, rows: u64) -> anyhow::Result<()> {
    let count = i64::try_from(rows - rows % PER_KEY)?;
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
         SELECT $1 + n, CASE WHEN n >= $2 / 2 THEN $1 + n - $2 / 2 END, $3, convert_to(subject, 'UTF8'),
             CASE WHEN n >= $2 / 2 THEN 2 ELSE 1 END, value, gen_random_uuid(), 'tidings.order.OrderPlaced', 'order',
             subject, now(), correlation_id
         FROM generate_series(0, $2 - 1) AS n,
             LATERAL (SELECT lpad(to_hex($1 + n % ($2 / 2)), 32, '0')::uuid AS correlation_id) AS id,
             LATERAL (SELECT correlation_id::text AS subject,
                 convert_to(md5(n::text || 'a') || md5(n::text || 'b') || md5(n::text || 'c') || repeat('v', 204), 'UTF8')
                     AS value) AS row",
    )
    .bind(first)
    .bind(count)
    .bind(format!("{prefix}.orders"))
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
pub(crate) async fn publish(servers: &Servers, prefix: &str, rows: u64) -> anyhow::Result<Published> {
    let order = ServiceProcess::spawn(servers, ServiceName::Order, prefix).await?;
    let rows = rows - rows % PER_KEY;
    let mut connection = connect(&order).await?;
    let first = (count(&mut connection).await?, Instant::now(), cpu_seconds(order.pid));
    let (mut last, mut moved_at) = (first.0, Instant::now());
    while last < rows {
        sleep(LOOK_AGAIN).await;
        let now = count(&mut connection).await?;
        if now > last {
            (last, moved_at) = (now, Instant::now());
        } else if moved_at.elapsed() >= STALL_TIMEOUT {
            bail!("order has published {last} of {rows} rows, and no more for {} s", STALL_TIMEOUT.as_secs());
        }
    }
    let (counted, seconds) = ((last - first.0).max(1) as f64, first.1.elapsed().as_secs_f64());
    let published = Published {
        per_second: counted / seconds,
        cpu_us: (cpu_seconds(order.pid) - first.2) * 1e6 / counted,
        memory: memory(order.pid),
    };
    order.stop().await?;
    Ok(published)
}

async fn connect(order: &ServiceProcess) -> anyhow::Result<Connection> {
    let began = Instant::now();
    loop {
        match Connection::open(order.address).await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() >= STALL_TIMEOUT => return Err(error),
            Err(_) => sleep(Duration::from_millis(2)).await,
        }
    }
}

async fn count(connection: &mut Connection) -> anyhow::Result<u64> {
    let page = connection.get("/metrics").await?.unwrap_or_default();
    Ok(published(&String::from_utf8_lossy(&page)))
}

/// The sum of a counter's samples.
fn published(page: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(PUBLISHED));
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
        assert_eq!(published(page), 42);
    }
}
