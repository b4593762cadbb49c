//! Events of orders on their topic: placed at once, then applied by inventory alone while somebody counts.

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgConnection;
use tidings::output;
use tidings::services::ServiceName;
use tokio::time::{Instant, sleep};

use crate::cost::{Cost, Used};
use crate::deployment::Deployment;
use crate::load::{Connection, Load, Orders};
use crate::servers::Servers;
use crate::service_process::ServiceProcess;
use crate::system::replenish;
use crate::waiting_rows;

/// What inventory counts.
const RECORDS: &str = "inbox_records_total{";
const APPLIED: &str = "outcome=\"applied\"";
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long no event may be published or applied before it is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 64;
const PLENTY: u64 = 10_000_000;
/// Rows of one statement that fills the inbox.
const PER_STATEMENT: u64 = 1_000_000;

/// Places so many orders with order alone, so that their events wait on the topic, and keeps a database of inventory that has
/// stock of these SKUs and has applied none of them.
///
/// # Errors
/// When an order is refused, or its event not published.
pub(crate) async fn prepare(
    servers: &Servers,
    deployment: &Deployment,
    skus: impl IntoIterator<Item = String>,
    orders: &Orders,
    count: u64,
) -> anyhow::Result<()> {
    let one = deployment.clone().replicas(1);
    servers.create_databases([ServiceName::Order, ServiceName::Inventory]).await?;
    let inventory = ServiceProcess::start(servers, ServiceName::Inventory, &one).await?;
    replenish(inventory.address, skus, PLENTY).await?;
    inventory.stop().await?;
    let mut server = servers.connect("postgres").await?;
    sqlx::query("ALTER DATABASE tidings_inventory RENAME TO bench_prepared").execute(&mut server).await?;

    let order = ServiceProcess::start(servers, ServiceName::Order, &one).await?;
    let load = Load {
        addresses: vec![order.address],
        connections: CONNECTIONS,
        rate: None,
        wait_seconds: None,
        count,
        duration: Duration::from_secs(3_600),
    };
    load.run(orders).await?;
    let mut connection = Connection::open(order.address).await?;
    let (mut last, mut moved_at) = (0, Instant::now());
    while last < count {
        sleep(LOOK_AGAIN).await;
        let now = waiting_rows::count(&mut connection).await?;
        if now > last {
            (last, moved_at) = (now, Instant::now());
        }
        anyhow::ensure!(moved_at.elapsed() < STALL_TIMEOUT, "order has published {last} of {count} events");
    }
    order.check()?;
    order.stop().await
}

/// Applies them with a copy of the prepared database, whose inbox has so many rows more. The time runs from the last look that saw
/// none of them applied.
///
/// # Errors
/// When none is applied for a minute.
pub(crate) async fn apply(
    servers: &Servers,
    deployment: &Deployment,
    inbox_rows: u64,
    count: u64,
) -> anyhow::Result<Cost> {
    let mut server = servers.connect("postgres").await?;
    sqlx::query("DROP DATABASE IF EXISTS tidings_inventory").execute(&mut server).await?;
    sqlx::query("CREATE DATABASE tidings_inventory TEMPLATE bench_prepared").execute(&mut server).await?;
    fill_inbox(&mut servers.connect(&ServiceName::Inventory.database()).await?, inbox_rows).await?;
    servers.checkpoint().await?;
    let mut members = Vec::new();
    for _ in 0..deployment.replica_count() {
        members.push(ServiceProcess::spawn(servers, ServiceName::Inventory, deployment).await?);
    }
    let mut connections = Vec::new();
    for member in &members {
        connections.push(waiting_rows::connect(member).await?);
    }
    let pids: Vec<u32> = members.iter().map(|member| member.pid).collect();
    let (mut began, mut used) = (Instant::now(), Used::now(servers, &pids));
    let (mut last, mut moved_at) = (0, Instant::now());
    while last < count {
        sleep(LOOK_AGAIN).await;
        let (looked_at, used_until) = (Instant::now(), Used::now(servers, &pids));
        let now = applied(&mut connections).await?;
        if now == 0 {
            (began, used) = (looked_at, used_until);
        }
        if now > last {
            (last, moved_at) = (now, Instant::now());
        } else if moved_at.elapsed() >= STALL_TIMEOUT {
            bail!(
                "inventory has applied {last} of {count} events, and no more for {} s",
                STALL_TIMEOUT.as_secs()
            );
        }
    }
    let cost = used.cost(last as f64, moved_at - began);
    for member in members {
        member.check()?;
        member.stop().await?;
    }
    output::diagnostic(&format!("inventory: {:.0} events/s", cost.per_second));
    Ok(cost)
}

/// The events that all members have applied.
async fn applied(members: &mut [Connection]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for member in members {
        let page = member.get("/metrics").await?.unwrap_or_default();
        sum += waiting_rows::sum(&String::from_utf8_lossy(&page), RECORDS, APPLIED);
    }
    Ok(sum)
}

/// Inserts ids of the last week (UUIDv7), applied: they lie in the table partition of the events that come.
async fn fill_inbox(conn: &mut PgConnection, rows: u64) -> anyhow::Result<()> {
    let mut done = 0;
    while done < rows {
        let count = (rows - done).min(PER_STATEMENT);
        sqlx::query(
            r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
               SELECT (lpad(to_hex(at), 12, '0') || '7' || substr(random, 1, 3) || '8' || substr(random, 4, 15))::uuid,
                   'bench', 0, n, 1, 'applied'
               FROM generate_series($1::bigint, $1 + $2 - 1) AS n,
                   LATERAL (SELECT md5(n::text) AS random,
                       (extract(epoch FROM now()) * 1000)::bigint - 604800000 + n * 604800000 / $3 AS at) AS id"#,
        )
        .bind(i64::try_from(done)?)
        .bind(i64::try_from(count)?)
        .bind(i64::try_from(rows)?)
        .execute(&mut *conn)
        .await
        .context("filling the inbox")?;
        done += count;
    }
    if rows > 0 {
        sqlx::query("ANALYZE inbox.events").execute(conn).await?;
    }
    Ok(())
}
