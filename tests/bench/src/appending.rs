//! Rows appended to order's outbox while its relay publishes: how many come to Kafka in a second, and how long after their commit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use contracts::clock::new_id;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::latencies::Latencies;
use crate::raw_producer;
use crate::servers::Servers;
use crate::waiting_rows::VALUE_BYTES;

/// Rows of a transaction.
const PER_COMMIT: u64 = 10;
const CONNECTIONS: u64 = 8;
/// How long Kafka may show no row that is missing.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const METADATA_TIMEOUT: Duration = Duration::from_secs(30);

/// How rows are appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appending {
    /// Rows a second; as many as the database takes if nothing is said.
    pub(crate) rate: Option<f64>,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Appended {
    /// Rows on Kafka, from the first commit to the last row.
    pub(crate) per_second: f64,
    /// From the end of a commit to when a consumer has its rows.
    pub(crate) latencies: Latencies,
}

/// When each transaction's commit ended, and when each of its rows was read, by the first half of their keys.
#[derive(Debug, Default)]
struct Times {
    committed: HashMap<u64, Instant>,
    read: Vec<(u64, Instant)>,
}

/// Appends rows, and reads them from the topic of orders. Each has a key of its own.
///
/// # Errors
/// When a row does not come to Kafka for a minute.
pub(crate) async fn append(
    servers: &Servers,
    prefix: &str,
    appending: &Appending,
) -> anyhow::Result<Appended> {
    let times = Arc::new(Mutex::new(Times::default()));
    let (is_over, appended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let consumer = at_the_end(&servers.kafka.addresses.bootstrap_servers, &format!("{prefix}.orders"))?;
    let reader = {
        let (times, is_over, appended) = (Arc::clone(&times), Arc::clone(&is_over), Arc::clone(&appended));
        tokio::task::spawn_blocking(move || read(&consumer, &times, &is_over, &appended))
    };
    let (run, began) = (new_id().as_u64_pair().1, Instant::now());
    let mut appenders = JoinSet::new();
    for number in 0..CONNECTIONS {
        let conn = servers.connect("tidings_order").await?;
        let (times, appended) = (Arc::clone(&times), Arc::clone(&appended));
        let first = run.wrapping_add(number << 32);
        appenders.spawn(append_on(conn, format!("{prefix}.orders"), *appending, first, times, appended));
    }
    while let Some(ended) = appenders.join_next().await {
        ended.context("appending rows")??;
    }
    is_over.store(true, Ordering::Release);
    let last = reader.await.context("the consumer's thread")??;
    let rows = appended.load(Ordering::Acquire);
    let times = times.lock().map_err(|_| anyhow::anyhow!("a thread has panicked"))?;
    let us = times.read.iter().filter_map(|(of, read)| {
        let since = read.saturating_duration_since(*times.committed.get(of)?);
        u64::try_from(since.as_micros()).ok()
    });
    let latencies = Latencies::new(us.collect());
    anyhow::ensure!(latencies.count() as u64 == rows, "{} of {rows} rows were read", latencies.count());
    let took = last.saturating_duration_since(began).as_secs_f64().max(0.001);
    Ok(Appended { per_second: rows as f64 / took, latencies })
}

async fn append_on(
    mut conn: PgConnection,
    topic: String,
    appending: Appending,
    first: u64,
    times: Arc<Mutex<Times>>,
    appended: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let per_second = appending.rate.map_or(0.0, |rate| rate / PER_COMMIT as f64 / CONNECTIONS as f64);
    let mut tick = (per_second > 0.0).then(|| interval(Duration::from_secs_f64(1.0 / per_second)));
    if let Some(tick) = &mut tick {
        // A late transaction does not make the next ones late.
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    }
    for number in 0.. {
        if began.elapsed() >= appending.duration {
            break;
        }
        if let Some(tick) = &mut tick {
            tick.tick().await;
        }
        let of = first.wrapping_add(number);
        sqlx::query(
            "INSERT INTO outbox.messages (id, topic, key, sequence, value, event_id, event_type, source, subject, event_time,
                 correlation_id)
             SELECT nextval('outbox.message_ids'), $1, convert_to($2 || lpad(to_hex(n), 16, '0'), 'UTF8'), 1, $3,
                 gen_random_uuid(), 'tidings.order.OrderPlaced', 'order', $2 || lpad(to_hex(n), 16, '0'), now(), gen_random_uuid()
             FROM generate_series(1, $4) AS n",
        )
        .bind(&topic)
        .bind(format!("{of:016x}"))
        .bind([&new_id().into_bytes()[..], &[b'v'; VALUE_BYTES - 16]].concat())
        .bind(i64::try_from(PER_COMMIT)?)
        .execute(&mut conn)
        .await
        .context("appending to the outbox")?;
        let mut times = times.lock().map_err(|_| anyhow::anyhow!("a thread has panicked"))?;
        times.committed.insert(of, Instant::now());
        drop(times);
        appended.fetch_add(PER_COMMIT, Ordering::AcqRel);
    }
    Ok(())
}

/// A consumer of all partitions, which begins behind their last records.
fn at_the_end(bootstrap_servers: &str, topic: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = raw_producer::client(bootstrap_servers);
    config.set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), METADATA_TIMEOUT)?;
        partitions.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

/// Notes when rows come, until all have. Returns when the last one did.
fn read(
    consumer: &BaseConsumer,
    times: &Mutex<Times>,
    is_over: &AtomicBool,
    appended: &AtomicU64,
) -> anyhow::Result<Instant> {
    let (mut seen, mut last) = (0, Instant::now());
    let mut rows = Vec::new();
    loop {
        if is_over.load(Ordering::Acquire) && seen >= appended.load(Ordering::Acquire) {
            break;
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let key = record.key().and_then(|key| key.get(..16)).unwrap_or_default();
                let of =
                    u64::from_str_radix(&String::from_utf8_lossy(key), 16).context("a foreign record")?;
                last = Instant::now();
                rows.push((of, last));
                seen += 1;
            }
            Some(Err(error)) => bail!("reading the topic: {error}"),
            None if last.elapsed() >= STALL_TIMEOUT => bail!("only {seen} rows have come to Kafka"),
            None => {}
        }
    }
    times.lock().map_err(|_| anyhow::anyhow!("a thread has panicked"))?.read = rows;
    Ok(last)
}
