//! From placed to confirmed when there is nothing else to do, beside what its commits and hops cost alone.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use debezium::topic;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::PgConnection;
use tidings::services::ServiceName;

use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::latencies::Latencies;
use crate::load::Connection;
use crate::raw_producer;
use crate::servers::Servers;
use crate::system::{System, made};

pub(super) const NAME: &str = "idle";
pub(super) const MEASURES: &str = "From placed to confirmed by the clock of order, one order at a time, with tracing and nothing else to do.";
pub(super) const BESIDE: &str = "five commits of one row and five records produced and fetched, each measured singly in the same run, \
    and summed.";

const PREFIX: &str = "bench-idle";
const FLOOR_TOPIC: &str = "bench-idle-floor";
const ORDERS: u64 = 300;
const TRIALS: u64 = 300;
const HOPS: usize = 5;
const PLENTY: u64 = 1_000_000;
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let (count, trials) = counts(setting);
    let floor = floor(servers, trials).await?;
    let latencies = placed_to_confirmed(servers, &Deployment::new(PREFIX).traces(100), count).await?;
    let figures = vec![
        Figure::new("placed to confirmed, p50", "ms", latencies.p50_ms())
            .beside("floor", floor.sums.p50_ms())
            .goal(Goal::RatioAtMost(2.0)),
        Figure::new("placed to confirmed, p99", "ms", latencies.p99_ms())
            .beside("floor", floor.sums.p99_ms())
            .goal(Goal::RatioAtMost(3.0)),
        Figure::new("a commit of one row, p50", "ms", floor.commits.p50_ms()),
        Figure::new("a record produced and fetched, p50", "ms", floor.hops.p50_ms()),
    ];
    Ok(Measured { figures, notes: Vec::new() })
}

/// How many orders are placed and how often the floor is measured, in a quick run.
pub(super) const fn counts(setting: &Setting) -> (u64, u64) {
    // A hundredth of a whole run gives no percentiles at all.
    if setting.quick { (20, 20) } else { (ORDERS, TRIALS) }
}

/// From placed to confirmed of so many orders, one at a time.
///
/// # Errors
/// When one is refused, or does not end.
pub(super) async fn placed_to_confirmed(
    servers: &Servers,
    deployment: &Deployment,
    count: u64,
) -> anyhow::Result<Latencies> {
    let run = format!("idle-{}", contracts::clock::new_id().simple());
    let system = System::start_as(servers, deployment).await?;
    system.replenish(["IDLE".to_owned()], PLENTY).await?;
    let warm = made(&format!("{run}-warm"), 1, |_, _| "IDLE".to_owned());
    system.drive(&warm, 1, count / 10 + 1, None).await?;
    let mut us = Vec::new();
    let orders = made(&run, 1, |_, _| "IDLE".to_owned());
    let mut connection = Connection::open(system.address(ServiceName::Order)?).await?;
    for number in 0..count {
        us.push(system.drive_one(&mut connection, &orders(number)).await?);
    }
    system.stop().await?;
    Ok(Latencies::new(us))
}

/// What the way costs without the system.
pub(super) struct Floor {
    commits: Latencies,
    hops: Latencies,
    /// Of five commits and five records.
    pub(super) sums: Latencies,
}

/// Measures the floor.
///
/// # Errors
/// When database or broker do not answer.
pub(super) async fn floor(servers: &Servers, trials: u64) -> anyhow::Result<Floor> {
    let mut conn = servers.connect("postgres").await?;
    sqlx::query("CREATE TABLE bench_commits (id bigint PRIMARY KEY, value text NOT NULL)")
        .execute(&mut conn)
        .await?;
    let brokers = servers.kafka.addresses.bootstrap_servers.clone();
    topic::create(&brokers, FLOOR_TOPIC, 1).await?;
    let mut commits = Vec::new();
    for number in 0..trials * HOPS as u64 {
        commits.push(commit(&mut conn, number).await?);
    }
    let hops = tokio::task::spawn_blocking(move || hops(&brokers, trials))
        .await
        .context("the thread of the hops")??;
    let sum = |(commits, hops): (&[u64], &[u64])| commits.iter().chain(hops).sum::<u64>();
    let sums = commits.chunks(HOPS).zip(hops.chunks(HOPS)).map(sum).collect();
    Ok(Floor { sums: Latencies::new(sums), commits: Latencies::new(commits), hops: Latencies::new(hops) })
}

async fn commit(conn: &mut PgConnection, number: u64) -> anyhow::Result<u64> {
    let started = Instant::now();
    sqlx::query("INSERT INTO bench_commits (id, value) VALUES ($1, 'one row')")
        .bind(i64::try_from(number)?)
        .execute(conn)
        .await?;
    Ok(micros(started))
}

/// Microseconds from producing a record, with the settings of the bus, to its arrival at a consumer that waits for it.
fn hops(brokers: &str, trials: u64) -> anyhow::Result<Vec<u64>> {
    let producer: BaseProducer = raw_producer::config(brokers).create()?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-idle-floor")
        .set("enable.auto.commit", "false")
        .set("socket.nagle.disable", "true")
        .create()?;
    let (_, end) = consumer.fetch_watermarks(FLOOR_TOPIC, 0, RECORD_TIMEOUT)?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(FLOOR_TOPIC, 0, Offset::Offset(end))?;
    consumer.assign(&partitions)?;
    let mut us = Vec::new();
    // The first ones connect.
    for number in 0..trials * HOPS as u64 + 20 {
        let started = Instant::now();
        let value = number.to_string();
        let sent = producer.send(BaseRecord::<str, str>::to(FLOOR_TOPIC).payload(&value));
        sent.map_err(|(error, _)| error).context("producing a record")?;
        let deadline = started + RECORD_TIMEOUT;
        loop {
            producer.poll(Duration::ZERO);
            if let Some(record) = consumer.poll(Duration::from_millis(50)) {
                record.context("fetching a record")?;
                break;
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "a record has not arrived for {} s",
                RECORD_TIMEOUT.as_secs()
            );
        }
        if number >= 20 {
            us.push(micros(started));
        }
    }
    Ok(us)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
