//! Waiting rows published by order's relay, beside librdkafka alone.

use anyhow::Context as _;
use tidings::output;

use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::peer_relay::{self, Peer};
use crate::raw_producer;
use crate::servers::Servers;
use crate::waiting_rows::{self, Published};
use crate::watermill;

pub(super) const NAME: &str = "relay-poll";
pub(super) const MEASURES: &str = "300,000 waiting rows of 300 B, two of each key, published by the polling relay of order, counted from \
    its first count on; also on a table with 900,000 finished rows, twice, of which the slower run counts.";
pub(super) const BESIDE: &str = "librdkafka with the settings of the bus, in the same run, fed with the same records from \
    memory; and Debezium Server with its outbox router (deploy/debezium), which gets as many such rows by logical replication, \
    twice with one process: the second time, when it is warm, counts; and the forwarder of Watermill, which polls a table of its own \
    for 20,000 messages.";

const PREFIX: &str = "bench-relay";
const ROWS: u64 = 300_000;
const FINISHED: u64 = 900_000;
/// It takes about as long for them.
const WATERMILL_ROWS: u64 = 20_000;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let rows = setting.scaled(ROWS);
    let deployment = Deployment::new(PREFIX);
    waiting_rows::prepare(servers, PREFIX).await?;
    let first = once(servers, &deployment, rows).await?;
    let mut conn = servers.connect("tidings_order").await?;
    waiting_rows::insert(&mut conn, PREFIX, setting.scaled(FINISHED) - rows).await?;
    waiting_rows::finish(&mut conn).await?;
    let mut slowest = once(servers, &deployment, rows).await?;
    let again = once(servers, &deployment, rows).await?;
    if again.cost.per_second < slowest.cost.per_second {
        slowest = again;
    }
    let raw = raw(servers, PREFIX, rows).await?;
    let peer = peer_relay::measure(servers, &format!("{PREFIX}-debezium"), rows).await?;
    let topic = format!("{PREFIX}-watermill");
    let watermill = watermill::measure(servers, &topic, setting.scaled(WATERMILL_ROWS)).await?;
    let mut figures = vec![
        Figure::new("published", "rows/s", first.cost.per_second).beside("librdkafka", raw.per_second),
        Figure::new("published, 900,000 finished rows", "rows/s", slowest.cost.per_second)
            .beside("without them", first.cost.per_second)
            .goal(Goal::RatioAtLeast(0.9)),
        Figure::new("CPU of order for a row", "us", first.cost.cpu_us).beside("librdkafka", raw.cpu_us),
        Figure::new("memory of order", "MB", first.memory.rss_mb),
        Figure::new("anonymous memory of order", "MB", first.memory.anonymous_mb),
    ];
    let mut notes = Vec::new();
    if let Some(peer) = peer {
        figures.extend(beside(&peer, &first));
        notes.push(format!(
            "The first {rows} rows of a process of {}: {:.0} rows/s.",
            peer.name, peer.cold_per_second
        ));
    }
    if let Some(watermill) = watermill {
        let name = format!("Watermill {}", watermill.version);
        figures.extend([
            Figure::new("published, beside a relay of Go", "rows/s", first.cost.per_second)
                .beside(&name, watermill.per_second)
                .goal(Goal::RatioAtLeast(20.0)),
            Figure::new("CPU for a row, beside a relay of Go", "us", first.cost.cpu_us)
                .beside(&name, watermill.cpu_us),
            Figure::new("memory, beside a relay of Go", "MB", first.memory.rss_mb)
                .beside(&name, watermill.rss_mb),
        ]);
    }
    Ok(Measured { figures, notes })
}

fn beside(peer: &Peer, relay: &Published) -> [Figure; 3] {
    [
        Figure::new("published, beside another relay", "rows/s", relay.cost.per_second)
            .beside(&peer.name, peer.per_second)
            .goal(Goal::RatioAtLeast(1.0)),
        Figure::new("CPU for a row, beside another relay", "us", relay.cost.cpu_us)
            .beside(&peer.name, peer.cpu_us),
        Figure::new("memory, beside another relay", "MB", relay.memory.rss_mb)
            .beside(&peer.name, peer.memory.rss_mb),
    ]
}

/// Publishes so many rows, which are inserted before.
///
/// # Errors
/// When nothing is published for a minute.
pub(crate) async fn once(servers: &Servers, deployment: &Deployment, rows: u64) -> anyhow::Result<Published> {
    let mut conn = servers.connect("tidings_order").await?;
    waiting_rows::insert(&mut conn, deployment.prefix(), rows).await?;
    servers.checkpoint().await?;
    let published = waiting_rows::publish(servers, deployment, rows).await?;
    output::diagnostic(&format!("relay: {:.0} rows/s", published.cost.per_second));
    Ok(published)
}

/// librdkafka alone on the topic of orders, in a thread of its own.
///
/// # Errors
/// When a record is not acknowledged in time.
pub(super) async fn raw(servers: &Servers, prefix: &str, rows: u64) -> anyhow::Result<raw_producer::Raw> {
    let brokers = servers.kafka.addresses.bootstrap_servers.clone();
    let topic = format!("{prefix}.orders");
    let publish = move || raw_producer::publish(&brokers, &topic, rows);
    let raw = tokio::task::spawn_blocking(publish).await.context("librdkafka's thread")??;
    output::diagnostic(&format!("librdkafka: {:.0} records/s", raw.per_second));
    Ok(raw)
}
