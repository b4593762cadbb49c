//! One topic's way to the broker: a producer, a window and a back-off that it shares with no other topic.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::ambient;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use messaging::{Acknowledged, Bus, DeliveryError, Producer};
use metrics::{Counter, Histogram, counter, histogram};
use telemetry::spans;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Span;

use super::backoff::Backoff;
use super::chains::{BlockedKey, Chains};
use super::config::RelayConfig;
use super::probe::{Probe, Step};
use super::row::{ChainKey, Row};

/// How long a lane that failed waits for the answers still open before it gives its producer up.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the client may take to set up a producer; it does not wait for the broker.
const OPEN: Duration = Duration::from_secs(10);
/// Answers reported to the relay at once.
const REPORT: usize = 1_000;

/// What a lane is told, in order.
#[derive(Debug)]
pub(crate) enum Input {
    /// Publish these.
    Rows(Vec<Row>),
    /// The block of this key is recorded.
    BlockRecorded(ChainKey),
}

/// What a lane reports.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The broker has these rows.
    Acknowledged(Vec<i64>),
    /// The broker will never take this key's lowest row.
    Blocked { topic: String, key: ChainKey, blocked: BlockedKey, detail: String },
    /// These rows came behind a row that blocked their key; they were not sent.
    Dropped(Vec<i64>),
}

/// A topic's lane.
pub(crate) struct Lane {
    pub(crate) topic: String,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) outcomes: mpsc::Sender<Outcome>,
    chains: Chains,
    receipts: FuturesUnordered<BoxFuture<'static, Answer>>,
    backoff: Backoff,
    delivery_timeout: Duration,
    published: Counter,
    failures: Counter,
    latency: Histogram,
}

type Answer = (ChainKey, Result<Acknowledged, DeliveryError>);

/// Why a lane's work with a producer came to an end.
enum End {
    /// Nobody wants anything from this lane any more.
    Closed,
    /// The broker refused records; nothing is wrong with the connection.
    Refused,
    /// The broker did not acknowledge.
    Unacknowledged,
}

impl Lane {
    pub(crate) fn new(
        topic: String,
        bus: Arc<dyn Bus>,
        probe: Arc<dyn Probe>,
        inputs: mpsc::Receiver<Input>,
        outcomes: mpsc::Sender<Outcome>,
        config: &RelayConfig,
    ) -> Self {
        let label = crate::metrics::label(&topic);
        Self {
            topic,
            bus,
            probe,
            inputs,
            outcomes,
            chains: Chains::new(config.max_in_flight_records),
            receipts: FuturesUnordered::new(),
            backoff: Backoff::new(config.backoff_max()),
            delivery_timeout: config.delivery_timeout(),
            published: counter!("outbox_messages_published_total", "topic" => label),
            failures: counter!("outbox_delivery_failures_total", "topic" => label),
            latency: histogram!("outbox_publish_latency_seconds", "topic" => label),
        }
    }

    /// Publishes until the relay hangs up.
    pub(crate) async fn run(mut self) {
        loop {
            if let Some(producer) = self.open().await {
                let end = self.work(&*producer).await;
                // Dropping the producer purges what it still has queued, before anything is sent again.
                drop(producer);
                self.receipts = FuturesUnordered::new();
                self.chains.abandon_flights();
                match end {
                    End::Closed => return,
                    End::Refused => continue,
                    End::Unacknowledged => {}
                }
            }
            sleep(self.backoff.next()).await;
        }
    }

    async fn open(&mut self) -> Option<Box<dyn Producer>> {
        match timeout(OPEN, self.bus.producer()).await {
            Ok(Ok(producer)) => return Some(producer),
            Ok(Err(error)) => tracing::warn!(
                topic = self.topic,
                error = &error as &dyn std::error::Error,
                "outbox: no producer; trying again"
            ),
            Err(_) => tracing::warn!(topic = self.topic, "outbox: no producer within {OPEN:?}; trying again"),
        }
        None
    }

    /// Sends what is ready and takes answers, until one of them is an error.
    async fn work(&mut self, producer: &dyn Producer) -> End {
        let mut heard_at = Instant::now();
        loop {
            while let Some((key, row)) = self.chains.send_next() {
                let (span, record) = row.to_record();
                let receipt = producer.send(record);
                self.receipts.push(receipt.map(move |answer| (key, told(&span, answer))).boxed());
                self.probe.reached(Step::Sent);
            }
            tokio::select! {
                Some(answer) = self.receipts.next() => {
                    heard_at = Instant::now();
                    match self.settle_ready(answer).await {
                        Ok(None) => {}
                        Ok(Some(failure)) => return self.drain(failure).await,
                        Err(closed) => return closed,
                    }
                }
                input = self.inputs.recv() => {
                    if self.receipts.is_empty() {
                        heard_at = Instant::now();
                    }
                    let Some(input) = input else { return End::Closed };
                    if let Err(closed) = self.take(input).await {
                        return closed;
                    }
                }
                () = tokio::time::sleep_until(heard_at + self.delivery_timeout), if !self.receipts.is_empty() => {
                    tracing::warn!(topic = self.topic, in_flight = self.chains.in_flight(),
                        "outbox: no answer for {:?}; replacing the producer", self.delivery_timeout);
                    return End::Unacknowledged;
                }
            }
        }
    }

    async fn take(&mut self, input: Input) -> Result<(), End> {
        match input {
            Input::Rows(rows) => {
                let dropped: Vec<i64> =
                    rows.into_iter().filter_map(|row| self.chains.push(row).err()).collect();
                if dropped.is_empty() { Ok(()) } else { self.report(Outcome::Dropped(dropped)).await }
            }
            Input::BlockRecorded(key) => {
                self.chains.forget_blocked(&key);
                Ok(())
            }
        }
    }

    /// After a failure: nothing more is sent; what is still answered in time need not be repeated.
    async fn drain(&mut self, mut failure: End) -> End {
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(answer)) = timeout_at(deadline, self.receipts.next()).await {
            match self.settle_ready(answer).await {
                Ok(Some(End::Unacknowledged)) => failure = End::Unacknowledged,
                Ok(_) => {}
                Err(closed) => return closed,
            }
        }
        if self.receipts.is_empty() { failure } else { End::Unacknowledged }
    }

    /// Settles this answer and those that are there already. `Ok(Some(_))` when one of them was a failure.
    async fn settle_ready(&mut self, first: Answer) -> Result<Option<End>, End> {
        let mut acknowledged = Vec::new();
        let mut failure = None;
        let mut next = Some(first);
        while let Some((key, answer)) = next {
            match answer {
                Ok(_) => {
                    if let Some(row) = self.chains.acknowledged(&key) {
                        self.latency.record(seconds_since(row.created_at));
                        acknowledged.push(row.id);
                    }
                }
                Err(DeliveryError::Unacknowledged(detail)) => {
                    if !matches!(failure, Some(End::Unacknowledged)) {
                        tracing::warn!(
                            topic = self.topic,
                            %key,
                            detail,
                            "outbox: not acknowledged; sending again"
                        );
                    }
                    self.chains.unacknowledged(&key);
                    failure = Some(End::Unacknowledged);
                }
                Err(DeliveryError::Refused(detail)) => {
                    failure.get_or_insert(End::Refused);
                    if let Some(blocked) = self.chains.refused(&key) {
                        let topic = self.topic.clone();
                        self.report(Outcome::Blocked { topic, key, blocked, detail }).await?;
                    }
                }
            }
            next = if acknowledged.len() < REPORT {
                self.receipts.next().now_or_never().flatten()
            } else {
                None
            };
        }
        if !acknowledged.is_empty() {
            self.backoff.reset();
            self.published.increment(acknowledged.len() as u64);
            self.report(Outcome::Acknowledged(acknowledged)).await?;
        }
        if failure.is_some() {
            self.failures.increment(1);
        }
        Ok(failure)
    }

    async fn report(&mut self, outcome: Outcome) -> Result<(), End> {
        self.outcomes.send(outcome).await.map_err(|_| End::Closed)
    }
}

/// Ends the publish span with what the broker said.
fn told(span: &Span, answer: Result<Acknowledged, DeliveryError>) -> Result<Acknowledged, DeliveryError> {
    match &answer {
        Ok(Acknowledged { partition, offset }) => spans::published(span, *partition, *offset),
        Err(error) => {
            spans::failed(span);
            tracing::info!(parent: span, %error, "not published");
        }
    }
    answer
}

/// The clocks of database and relay may differ; a negative latency is none.
fn seconds_since(created_at: DateTime<Utc>) -> f64 {
    (ambient::now() - created_at).to_std().unwrap_or_default().as_secs_f64()
}
