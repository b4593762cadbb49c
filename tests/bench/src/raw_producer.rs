//! librdkafka alone: the same records with the producer's settings of the bus, from memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cloudevents::Envelope;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Message as _};
use uuid::Uuid;

use crate::latencies::Latencies;
use crate::processes::cpu_seconds;
use crate::waiting_rows::{PER_KEY, VALUE_BYTES};

/// The settings of the bus, `shared/messaging/src/kafka/config.rs`.
const SETTINGS: [(&str, &str); 13] = [
    ("socket.nagle.disable", "true"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    ("log.connection.close", "false"),
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("message.timeout.ms", "0"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "lz4"),
    ("linger.ms", "1"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("retry.backoff.max.ms", "1000"),
];

/// How long the last records may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
}

/// How many records are handed over at once at a rate.
const PER_TICK: u64 = 10;

#[derive(Clone, Default)]
struct Counter {
    acknowledged: Arc<AtomicU64>,
}

impl ClientContext for Counter {}

impl ProducerContext for Counter {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.as_ref().is_ok_and(|record| record.offset() >= 0) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Notes how long each record took.
#[derive(Clone, Default)]
struct Timer {
    us: Arc<Mutex<Vec<u64>>>,
}

impl ClientContext for Timer {}

impl ProducerContext for Timer {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent_at: Box<Instant>) {
        if let (Ok(_), Ok(mut us)) = (result, self.us.lock()) {
            us.push(u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// A client of this Kafka.
pub(crate) fn client(bootstrap_servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap_servers).set("client.id", "bench");
    config
}

/// A producer with the settings of the bus.
pub(crate) fn config(bootstrap_servers: &str) -> ClientConfig {
    let mut config = client(bootstrap_servers);
    for (name, value) in SETTINGS {
        config.set(name, value);
    }
    config
}

/// Publishes so many records of the size and with the headers of order's rows. Blocks its thread.
///
/// # Errors
/// When one is not acknowledged in time.
pub(crate) fn publish(bootstrap_servers: &str, topic: &str, rows: u64) -> anyhow::Result<Raw> {
    let counter = Counter::default();
    let producer: BaseProducer<Counter> = config(bootstrap_servers).create_with_context(counter.clone())?;
    let records: Vec<(String, Vec<u8>, OwnedHeaders)> =
        (0..rows).map(|number| record(number, rows)).collect();
    // Connected, and with the topic's partitions known.
    producer.client().fetch_metadata(Some(topic), FLUSH_TIMEOUT)?;
    let own = std::process::id();
    let (started, before) = (Instant::now(), cpu_seconds(own));
    for (key, value, headers) in records {
        let mut record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
        while let Err((error, unsent)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                bail!("librdkafka took no record: {error}");
            }
            record = unsent;
            producer.poll(Duration::from_millis(1));
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(FLUSH_TIMEOUT).context("waiting for the last acknowledgement")?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds(own) - before);
    let acknowledged = counter.acknowledged.load(Ordering::Relaxed);
    anyhow::ensure!(acknowledged == rows, "{acknowledged} of {rows} records were acknowledged");
    Ok(Raw { per_second: rows as f64 / seconds, cpu_us: cpu * 1e6 / rows as f64 })
}

/// From handing a record over to its acknowledgement, of `rows` records at so many a second. Blocks its thread.
///
/// # Errors
/// When one is not acknowledged in time.
pub(crate) fn acknowledgements(
    bootstrap_servers: &str,
    topic: &str,
    per_second: f64,
    rows: u64,
) -> anyhow::Result<Latencies> {
    let timer = Timer::default();
    let producer: BaseProducer<Timer> = config(bootstrap_servers).create_with_context(timer.clone())?;
    producer.client().fetch_metadata(Some(topic), FLUSH_TIMEOUT)?;
    let began = Instant::now();
    for number in 0..rows {
        if number % PER_TICK == 0 {
            let due = Duration::from_secs_f64(number as f64 / per_second);
            while let Some(rest) = due.checked_sub(began.elapsed()).filter(|rest| !rest.is_zero()) {
                producer.poll(rest);
            }
        }
        let (key, value, headers) = record(number, rows);
        let record = BaseRecord::with_opaque_to(topic, Box::new(Instant::now()));
        let sent = producer.send(record.key(&key).payload(&value).headers(headers));
        sent.map_err(|(error, _)| error).context("librdkafka took no record")?;
    }
    producer.flush(FLUSH_TIMEOUT).context("waiting for the last acknowledgement")?;
    let us = timer.us.lock().map_err(|_| anyhow::anyhow!("a thread has panicked"))?.clone();
    anyhow::ensure!(us.len() as u64 == rows, "{} of {rows} records were acknowledged", us.len());
    Ok(Latencies::new(us))
}

fn record(number: u64, rows: u64) -> (String, Vec<u8>, OwnedHeaders) {
    let of_key = u128::from(number % (rows / PER_KEY).max(1));
    let id = Uuid::from_u128(of_key);
    let envelope = Envelope {
        event_id: contracts::clock::new_id(),
        event_type: "tidings.order.OrderPlaced".to_owned(),
        source: "order".to_owned(),
        occurred_at: contracts::clock::now(),
        subject: id.to_string(),
        sequence: if number < rows / PER_KEY { 1 } else { 2 },
        correlation_id: id,
        causation_id: None,
        user_id: None,
        trace: cloudevents::TraceContext::default(),
    };
    let headers = envelope.to_headers("application/vnd.confluent.avro");
    let headers =
        headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(value) })
        });
    // As compressible as the rows: a third of it is noise.
    let mut value =
        format!("{}{}{}", envelope.event_id.simple(), contracts::clock::new_id().simple(), of_key)
            .into_bytes();
    value.resize(VALUE_BYTES, b'v');
    (envelope.subject, value, headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_those_of_the_bus() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/messaging/src/kafka/config.rs");
        let text = std::fs::read_to_string(source).unwrap();
        let function = |name: &str| {
            let (_, rest) = text.split_once(&format!("fn {name}(&self, client_id: &str)")).unwrap();
            rest.split_once("\n    }\n").unwrap().0.to_owned()
        };
        let both = function("client") + &function("producer");
        let set: Vec<(String, String)> = both
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".set(\"")?.split_once("\", \""))
            .map(|(name, rest)| (name.to_owned(), rest.split('"').next().unwrap_or_default().to_owned()))
            .collect();
        let own: Vec<(String, String)> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(set, own);
    }

    #[test]
    fn a_record_has_the_size_of_a_row_and_its_key_returns() {
        let (first, value, _) = record(0, 10);
        assert_eq!(
            (value.len(), record(5, 10).0, record(4, 10).0 == first),
            (VALUE_BYTES, first.clone(), false)
        );
    }
}
