//! A thousand event streams of orders that are open, on one replica of order.

use std::time::Duration;

use anyhow::Context as _;
use hyper::body::Incoming;
use tidings::client::OrderView;
use tidings::output;
use tidings::services::ServiceName;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::accept::orders;
use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::Figure;
use crate::latencies::Latencies;
use crate::load::{Connection, Load, Placed, next_data};
use crate::processes::{cpu_seconds, memory};
use crate::servers::Servers;
use crate::service_process::ServiceProcess;
use crate::system::made;

pub(super) const NAME: &str = "streams";
pub(super) const MEASURES: &str = "1,000 event streams of as many open orders on one replica of order (order.max_streams = 1000), alone and \
    while orders of 3 lines are accepted on 16 connections; then from the request that cancels one of the orders to the event on its \
    stream.";
pub(super) const BESIDE: &str = "the same process before it had streams.";

const PREFIX: &str = "bench-streams";
const STREAMS: u64 = 1_000;
const CONNECTIONS: usize = 16;
const LINES: usize = 3;
/// Streams of one address, and the connections of the load beside them.
const MAX_CONNECTIONS: u64 = 4_096;
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The name of the event that is waited for.
const CANCELLED: &str = "cancelled";

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let count = if setting.quick { 50 } else { STREAMS };
    servers.create_databases([ServiceName::Order]).await?;
    let deployment = Deployment::new(PREFIX)
        .set("order.max_streams", &STREAMS)
        .set("http.max_connections", &MAX_CONNECTIONS);
    let order = ServiceProcess::start(servers, ServiceName::Order, &deployment).await?;
    let paths = place(&mut Connection::open(order.address).await?, count).await?;
    accepted(&order, setting, "warm").await?;
    let idle_before = share(&order, setting).await;
    let before = (accepted(&order, setting, "before").await?, memory(order.pid));
    let mut streams = Vec::new();
    for path in &paths {
        let mut connection = Connection::open(order.address).await?;
        let body = connection.stream(&format!("{path}/events")).await?;
        streams.push((connection, body));
    }
    output::diagnostic(&format!("{} event streams are open", streams.len()));
    let idle = share(&order, setting).await;
    let held = memory(order.pid);
    let during = accepted(&order, setting, "during").await?;
    let latencies = cancel(&mut Connection::open(order.address).await?, paths, streams).await?;
    order.check()?;
    order.stop().await?;
    let per_stream = (held.anonymous_mb - before.1.anonymous_mb) * 1_024.0 / count as f64;
    let figures = vec![
        Figure::new("accepted with the streams", "orders/s", during.per_second())
            .beside("before", before.0.per_second()),
        Figure::new("p99 of an answer with the streams", "ms", during.latencies.p99_ms())
            .beside("before", before.0.latencies.p99_ms()),
        Figure::new("CPU of order with the streams and nothing to do", "% of a core", idle)
            .beside("before", idle_before),
        Figure::new("anonymous memory of order for a stream", "kB", per_stream),
        Figure::new("cancelled to the event on the stream, p50", "ms", latencies.p50_ms()),
        Figure::new("cancelled to the event on the stream, p99", "ms", latencies.p99_ms()),
    ];
    Ok(Measured { figures, notes: Vec::new() })
}

/// Places so many orders; gives their paths. Nobody ends them: order runs alone.
async fn place(connection: &mut Connection, count: u64) -> anyhow::Result<Vec<String>> {
    let run = format!("streams-{}", contracts::clock::new_id().simple());
    let orders = made(&run, 1, |number, _| format!("SKU-{number}"));
    let mut paths = Vec::new();
    for number in 0..count {
        let body = connection.place(&orders(number)).await?;
        let placed: OrderView = serde_json::from_slice(&body).context("the answer to an order")?;
        paths.push(format!("/orders/{}", placed.order_id));
    }
    Ok(paths)
}

async fn accepted(order: &ServiceProcess, setting: &Setting, run: &str) -> anyhow::Result<Placed> {
    let load = Load {
        addresses: vec![order.address],
        connections: CONNECTIONS,
        rate: None,
        wait_seconds: None,
        count: u64::MAX,
        duration: setting.seconds(10),
    };
    let run = format!("streams-{run}-{}", contracts::clock::new_id().simple());
    load.run(&orders(&run, LINES)).await
}

/// The CPU time of order while nothing happens. What was accepted is published by then.
async fn share(order: &ServiceProcess, setting: &Setting) -> f64 {
    sleep_until(Instant::now() + setting.seconds(5)).await;
    let (before, started) = (cpu_seconds(order.pid), Instant::now());
    sleep_until(started + setting.seconds(15)).await;
    (cpu_seconds(order.pid) - before) / started.elapsed().as_secs_f64() * 100.0
}

/// Cancels each order, one after the other, while all streams are read.
async fn cancel(
    connection: &mut Connection,
    paths: Vec<String>,
    streams: Vec<(Connection, Incoming)>,
) -> anyhow::Result<Latencies> {
    let mut readers = JoinSet::new();
    for (number, (connection, body)) in streams.into_iter().enumerate() {
        readers.spawn(async move { anyhow::Ok((number, read_to_end(connection, body).await?)) });
    }
    let mut asked = Vec::new();
    for path in paths {
        asked.push(Instant::now());
        connection.post(&format!("{path}/cancellation")).await?;
    }
    let mut us = Vec::new();
    while let Some(read) = timeout(EVENT_TIMEOUT, readers.join_next()).await.context("an event stream")? {
        let (number, at) = read??;
        us.push(u64::try_from((at - asked[number]).as_micros()).unwrap_or(u64::MAX));
    }
    Ok(Latencies::new(us))
}

/// When the event came that the order is cancelled.
async fn read_to_end(connection: Connection, mut body: Incoming) -> anyhow::Result<Instant> {
    let mut text = String::new();
    while let Some(data) = next_data(&mut body).await? {
        text.push_str(&String::from_utf8_lossy(&data));
        if text.lines().any(|line| line.strip_prefix("event:").is_some_and(|name| name.trim() == CANCELLED)) {
            drop(connection);
            return Ok(Instant::now());
        }
    }
    anyhow::bail!("an event stream ended before its order did: {text}")
}
