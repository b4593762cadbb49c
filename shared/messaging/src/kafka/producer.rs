//! Sending: reports by delivery callback, served by a thread that ends with its producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::Notify;

use super::config::KafkaConfig;
use super::context::Events;
use super::errors::{configuration, delivery_error};
use crate::bus::BusError;
use crate::publishing::{Acknowledged, Outcome, Producer, RecordRef, Report, Reports};

/// How long a poll waits for deliveries. rdkafka spins for the last part of it that is no full millisecond, so the thread polls
/// this way only while records are in flight.
const POLL: Duration = Duration::from_millis(50);
/// How often the thread serves logs and errors while no records are in flight.
const IDLE: Duration = Duration::from_secs(1);
/// The most of them at a time.
const IDLE_EVENTS: usize = 16;

pub(crate) struct KafkaProducer {
    client: Arc<BaseProducer<Deliveries>>,
    /// Dropped after `client`, so that the thread finds itself the last owner.
    thread: PollingThread,
}

/// Serves the deliveries; woken for records and for its end.
struct PollingThread(Thread);

impl Drop for PollingThread {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

impl KafkaProducer {
    pub(crate) fn try_new(config: &KafkaConfig, client_id: &str) -> Result<Self, BusError> {
        let context =
            Deliveries { events: Events::new(client_id), open: AtomicUsize::new(0), settled: Notify::new() };
        let client: BaseProducer<Deliveries> = config
            .producer(client_id)
            .create_with_context(context)
            .map_err(|error| configuration(config, &error))?;
        let client = Arc::new(client);
        let serving = {
            let client = Arc::clone(&client);
            move || {
                while Arc::strong_count(&client) > 1 {
                    if client.context().open.load(Ordering::Acquire) > 0 {
                        client.poll(POLL);
                    } else {
                        thread::park_timeout(IDLE);
                        (0..IDLE_EVENTS).for_each(|_| client.poll(Duration::ZERO));
                    }
                }
                // The last handle, here and not where the producer is dropped, because this blocks: purges again and
                // serves the last deliveries.
                drop(client);
            }
        };
        let thread = thread::Builder::new()
            .name(client_id.to_owned())
            .spawn(serving)
            .map_err(|error| BusError::Configuration(format!("no thread for a producer: {error}")))?;
        Ok(Self { client, thread: PollingThread(thread.thread().clone()) })
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    fn enqueue(&self, record: RecordRef<'_>, partition: Option<i32>, number: u64, reports: &Reports) {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in record.headers.iter() {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let open = Box::new(Open { number, reports: reports.clone() });
        let mut message = BaseRecord::<[u8], [u8], _>::with_opaque_to(record.topic, open).headers(headers);
        message.key = record.key;
        message.payload = record.value;
        message.partition = partition;
        let context = self.client.context();
        if context.open.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.0.unpark();
        }
        if let Err((error, message)) = self.client.send(message) {
            context.settle(&message.delivery_opaque, Err(delivery_error(&error)));
        }
    }

    async fn flush(&self, timeout: Duration) {
        let context = Arc::clone(self.client.context());
        let settled = async {
            loop {
                let woken = context.settled.notified();
                if context.open.load(Ordering::Acquire) == 0 {
                    break;
                }
                woken.await;
            }
        };
        let _ = tokio::time::timeout(timeout, settled).await;
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        self.client.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}

/// A record without an outcome so far.
pub(crate) struct Open {
    number: u64,
    reports: Reports,
}

/// Reports outcomes.
pub(crate) struct Deliveries {
    events: Events,
    open: AtomicUsize,
    settled: Notify,
}

impl Deliveries {
    fn settle(&self, record: &Open, outcome: Outcome) {
        // The sender may no longer wait.
        let _ = record.reports.send(Report { number: record.number, outcome });
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Open>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(Acknowledged { partition: message.partition(), offset: message.offset() }),
            Err((error, message)) => {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PurgeQueue) {
                    let detail = format!("{}/{}: {error}", message.topic(), message.partition());
                    self.events.warn("delivery", &detail);
                }
                Err(delivery_error(error))
            }
        };
        self.settle(&record, outcome);
    }
}
