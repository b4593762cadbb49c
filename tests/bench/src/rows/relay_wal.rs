//! Waiting rows published by order's relay of the write-ahead log, beside what its parts do alone.

use anyhow::Context as _;
use tidings::output;
use tokio::time::{Duration, Instant, sleep};

use super::{Measured, Setting, relay_poll};
use crate::appending::{self, Appending};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::peer_relay;
use crate::raw_producer;
use crate::recvlogical;
use crate::servers::Servers;
use crate::service_process::ServiceProcess;
use crate::waiting_rows::{self, Published};
use tidings::services::ServiceName;

pub(super) const NAME: &str = "relay-wal";
pub(super) const MEASURES: &str = "300,000 waiting rows of 300 B, two of each key, published by the relay wal of order from its replication slot, \
    counted from its first count on, twice, of which the slower run counts; then again while a transaction stays open. After that \
    rows are appended while it runs, ten in a transaction: as fast as they are published, and at half of that rate, from each \
    commit until its rows are read from Kafka.";
pub(super) const BESIDE: &str = "Debezium Server with its outbox router, which gets as many such rows by logical replication, twice with one \
    process: the second time, when it is warm, counts; pg_recvlogical, which writes the same part of the log to /dev/null; librdkafka \
    with the settings of the bus, fed with the same records from memory, and at half of the rate of appended rows, from each record to its \
    acknowledgement.";

const PREFIX: &str = "bench-wal";
const ROWS: u64 = 300_000;
/// How long the slot may take.
const SLOT_TIMEOUT: Duration = Duration::from_secs(60);
const APPEND_SECONDS: u64 = 10;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let rows = setting.scaled(ROWS);
    let own = Servers::start_with(&servers.kafka, &servers.binaries, &[("wal_level", "logical")]).await?;
    let deployment = Deployment::new(PREFIX).set("outbox.relay", &"wal");
    prepare(&own, &deployment).await?;
    recvlogical::prepare(&own).await?;
    let first = once(&own, &deployment, rows).await?;
    let received = recvlogical::measure(&own, rows).await?;
    let again = once(&own, &deployment, rows).await?;
    let slower = if again.cost.per_second < first.cost.per_second { again } else { first };
    let mut open = own.connect("tidings_order").await?;
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut open).await?;
    let held = once(&own, &deployment, rows).await?;
    drop(open);
    let raw = relay_poll::raw(servers, PREFIX, rows).await?;
    let (lower, limit) = match received < raw.per_second {
        true => ("pg_recvlogical", received),
        false => ("librdkafka", raw.per_second),
    };
    let mut figures = vec![
        Figure::new("published", "rows/s", slower.cost.per_second)
            .beside(lower, limit)
            .goal(Goal::RatioAtLeast(0.7)),
        Figure::new("published while a transaction is open", "rows/s", held.cost.per_second)
            .beside("without it", slower.cost.per_second)
            .goal(Goal::RatioAtLeast(0.95)),
    ];
    figures.extend(beside_debezium(servers, rows, &slower).await?);
    figures.extend([
        Figure::new("CPU of order for a row", "us", slower.cost.cpu_us).beside("librdkafka", raw.cpu_us),
        Figure::new("CPU of PostgreSQL for a row", "us", slower.cost.postgres_us),
    ]);
    figures.extend(latencies(setting, &own, &deployment).await?);
    let notes = vec![format!(
        "librdkafka alone: {:.0} records/s; pg_recvlogical alone: {received:.0} rows/s.",
        raw.per_second
    )];
    Ok(Measured { figures, notes })
}

/// Creates order's database, and its slot. Order does not run afterwards.
async fn prepare(servers: &Servers, deployment: &Deployment) -> anyhow::Result<()> {
    waiting_rows::prepare(servers, deployment.prefix()).await?;
    let order = ServiceProcess::start(servers, ServiceName::Order, deployment).await?;
    let mut conn = servers.connect("tidings_order").await?;
    let began = Instant::now();
    loop {
        let is_read: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox.topics WHERE relay = 'wal')")
                .fetch_one(&mut conn)
                .await?;
        if is_read {
            return order.stop().await;
        }
        anyhow::ensure!(began.elapsed() < SLOT_TIMEOUT, "order does not read the log");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn once(servers: &Servers, deployment: &Deployment, rows: u64) -> anyhow::Result<Published> {
    let published = relay_poll::once(servers, deployment, rows).await?;
    let mut conn = servers.connect("tidings_order").await?;
    let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox.pending").fetch_one(&mut conn).await?;
    anyhow::ensure!(pending == 0, "{pending} rows were left to the table");
    Ok(published)
}

async fn beside_debezium(servers: &Servers, rows: u64, relay: &Published) -> anyhow::Result<Vec<Figure>> {
    let Some(peer) = peer_relay::measure(servers, &format!("{PREFIX}-debezium"), rows).await? else {
        return Ok(Vec::new());
    };
    Ok(vec![
        Figure::new("published, beside another relay", "rows/s", relay.cost.per_second)
            .beside(&peer.name, peer.per_second)
            .goal(Goal::RatioAtLeast(2.0)),
        Figure::new("CPU for a row, beside another relay", "us", relay.cost.cpu_us)
            .beside(&peer.name, peer.cpu_us),
        Figure::new("memory, beside another relay", "MB", relay.memory.rss_mb)
            .beside(&peer.name, peer.memory.rss_mb)
            .goal(Goal::RatioAtMost(0.1)),
    ])
}

/// From a commit to its rows on Kafka, at half of the rate at which they come there.
async fn latencies(
    setting: &Setting,
    servers: &Servers,
    deployment: &Deployment,
) -> anyhow::Result<Vec<Figure>> {
    let order = ServiceProcess::start(servers, ServiceName::Order, deployment).await?;
    let duration = setting.seconds(APPEND_SECONDS);
    let full = appending::append(servers, PREFIX, &Appending { rate: None, duration }).await?;
    output::diagnostic(&format!("relay: {:.0} appended rows/s", full.per_second));
    let rate = full.per_second / 2.0;
    let half = appending::append(servers, PREFIX, &Appending { rate: Some(rate), duration }).await?;
    order.check()?;
    order.stop().await?;
    let brokers = servers.kafka.addresses.bootstrap_servers.clone();
    let topic = format!("{PREFIX}.orders");
    let rows = half.latencies.count() as u64;
    let produce = move || raw_producer::acknowledgements(&brokers, &topic, rate, rows);
    let acknowledged = tokio::task::spawn_blocking(produce).await.context("librdkafka's thread")??;
    Ok(vec![
        Figure::new("published while they are appended", "rows/s", full.per_second),
        Figure::new(format!("from commit to Kafka at {rate:.0} rows/s, p99"), "ms", half.latencies.p99_ms())
            .beside("librdkafka, to the acknowledgement", acknowledged.p99_ms())
            .goal(Goal::RatioAtMost(3.0)),
        Figure::new(format!("from commit to Kafka at {rate:.0} rows/s, p50"), "ms", half.latencies.p50_ms())
            .beside("librdkafka, to the acknowledgement", acknowledged.p50_ms()),
    ])
}
