//! One topic's way to the broker: a producer that it shares with no other topic, and a flow for each partition.

mod answers;
mod broker;
mod flow;
mod in_flight;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use messaging::{Bus, Producer, Refusal, label};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use rand::Rng as _;
use rand::seq::IteratorRandom as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::backoff::Backoff;
use super::config::RelayConfig;
use super::failpoint::{Failpoint, Failpoints};
use super::key_queues::BlockedKey;
use super::row::{QueueKey, Row};
use crate::metrics::WhileLeading;
use broker::Broker;
use flow::Flow;
use in_flight::InFlight;
use verdict::{Sending, Verdict};

/// How long a publisher that failed waits for the answers still open before it gives its producer up.
const DRAIN: Duration = Duration::from_secs(1);

/// Input of a publisher, in order.
#[derive(Debug)]
pub(crate) enum Input {
    /// Publish these, each in its partition.
    Rows(Vec<(i32, Box<Row>)>),
    /// Try this again, with which its key is blocked.
    Retry(i32, Box<Row>),
    /// The block of this key is recorded.
    BlockRecorded(QueueKey),
}

/// What a publisher reports.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The topic has so many partitions: its rows can be published.
    Partitions { topic: String, partitions: i32 },
    /// The broker has these rows.
    Acknowledged(Vec<i64>),
    /// The broker refused this key's lowest row.
    Blocked { topic: String, key: QueueKey, blocked: BlockedKey, refusal: Refusal, detail: String },
    /// The topic takes records again, after it had refused everything.
    Takes { topic: String },
    /// These rows came behind a row that blocked their key; they were not sent.
    Dropped(Vec<i64>),
}

pub(crate) struct TopicPublisher {
    topic: String,
    broker: Arc<Broker>,
    failpoints: Arc<dyn Failpoints>,
    inputs: mpsc::Receiver<Input>,
    outcomes: mpsc::Sender<Outcome>,
    flows: BTreeMap<i32, Flow>,
    sent: InFlight,
    backoff: Backoff,
    /// How many partitions share the window. It is asked once: were the topic to grow, rows would share windows and room
    /// otherwise than they share partitions, and nothing else.
    partitions: i32,
    config: RelayConfig,
    /// The last acknowledgement of the current producer.
    acknowledged_at: Option<Instant>,
    /// Something failed since.
    failed: bool,
    /// When it is looked again whether stalled partitions have leaders.
    look_at: Option<Instant>,
    stalled_with_leader: BTreeSet<i32>,
    verdict: Verdict,
    stalled: WhileLeading,
    refused: WhileLeading,
    published: Counter,
    failures: Counter,
    latency: Histogram,
}

/// Why a publisher's work with a producer came to an end.
enum End {
    /// The leader has dropped this publisher.
    Closed,
    /// Nothing is acknowledged any more.
    Unacknowledged,
}

impl TopicPublisher {
    pub(crate) fn new(
        topic: String,
        content_type: Arc<str>,
        bus: Arc<dyn Bus>,
        failpoints: Arc<dyn Failpoints>,
        inputs: mpsc::Receiver<Input>,
        outcomes: mpsc::Sender<Outcome>,
        config: &RelayConfig,
    ) -> Self {
        let label = label(&topic);
        let broker = Arc::new(Broker { topic: topic.clone(), bus, backoff_max: config.backoff_max() });
        Self {
            topic,
            broker,
            failpoints,
            inputs,
            outcomes,
            flows: BTreeMap::new(),
            sent: InFlight::new(content_type),
            backoff: Backoff::new(config.backoff_max()),
            partitions: 1,
            config: config.clone(),
            acknowledged_at: None,
            failed: false,
            look_at: None,
            stalled_with_leader: BTreeSet::new(),
            verdict: Verdict::new(),
            stalled: WhileLeading::new(gauge!("outbox_stalled_partitions", "topic" => label.clone())),
            refused: WhileLeading::new(gauge!("outbox_refused_topics", "topic" => label.clone())),
            published: counter!("outbox_messages_published_total", "topic" => label.clone()),
            failures: counter!("outbox_delivery_failures_total", "topic" => label.clone()),
            latency: histogram!("outbox_publish_latency_seconds", "topic" => label),
        }
    }

    /// Publishes until the relay drops its channel.
    pub(crate) async fn run(mut self) {
        let (mut opened, partitions) = {
            let broker = Arc::clone(&self.broker);
            tokio::join!(broker.open(), broker.learn_partitions())
        };
        self.partitions = partitions;
        let learned = Outcome::Partitions { topic: self.topic.clone(), partitions };
        if self.report(learned).await.is_err() {
            return;
        }
        loop {
            let producer = match opened.take() {
                Some(producer) => Some(producer),
                None => Arc::clone(&self.broker).open().await,
            };
            if let Some(producer) = producer {
                (self.acknowledged_at, self.failed, self.look_at) = (None, false, None);
                self.stalled_with_leader.clear();
                let end = self.work(&*producer).await;
                // Dropping the producer purges what it still has queued, before anything is sent again.
                drop(producer);
                self.sent.abandon();
                self.flows.values_mut().for_each(Flow::abandon);
                match end {
                    End::Closed => return,
                    End::Unacknowledged => {}
                }
            }
            sleep(self.backoff.next()).await;
        }
    }

    /// Sends what is ready and takes answers, until the producer is of no use any more.
    async fn work(&mut self, producer: &dyn Producer) -> End {
        loop {
            self.send_ready(producer);
            let due_at = self.due_at();
            tokio::select! {
                answer = self.sent.next() => {
                    match self.settle_ready(answer).await {
                        Ok(None) => {}
                        Ok(Some(failure)) => return self.drain(failure).await,
                        Err(closed) => return closed,
                    }
                }
                input = self.inputs.recv() => {
                    let Some(input) = input else { return End::Closed };
                    if let Err(closed) = self.take(input).await {
                        return closed;
                    }
                }
                () = sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => {
                    if self.all_are_stalled().await {
                        return End::Unacknowledged;
                    }
                }
            }
        }
    }

    fn send_ready(&mut self, producer: &dyn Producer) {
        let now = Instant::now();
        match self.verdict.sending(now) {
            Sending::All => {
                for (&partition, flow) in &mut self.flows {
                    while let Some((key, row)) = flow.send_next(now) {
                        self.sent.send(producer, partition, key, row);
                        self.failpoints.reached(Failpoint::Sent);
                    }
                }
            }
            Sending::One => {
                if let Some((partition, flow)) = any_flow(&mut self.flows, now)
                    && let Some((key, row)) = flow.send_probe(now, rand::rng().random_range(0..usize::MAX))
                {
                    self.sent.send(producer, partition, key, row);
                    self.verdict.probing(now);
                    self.failpoints.reached(Failpoint::Sent);
                } else {
                    self.verdict.unanswered(now);
                }
            }
            Sending::Nothing => {}
        }
    }

    /// When a partition is due, or it is to be looked again for leaders.
    fn due_at(&self) -> Option<Instant> {
        let timeout = self.config.delivery_timeout();
        let flows = self.flows.values().filter_map(|flow| flow.due_at(timeout));
        flows.chain(self.look_at).chain(self.verdict.due_at()).min()
    }

    /// Takes note of partitions that acknowledge nothing. Only when all that have records in flight are among them, and
    /// one of them has a leader, may the fault be the producer's: then it is to be replaced.
    async fn all_are_stalled(&mut self) -> bool {
        let (now, timeout) = (Instant::now(), self.config.delivery_timeout());
        for (partition, flow) in &mut self.flows {
            if flow.stalls(now, timeout) {
                tracing::warn!(
                    topic = self.topic,
                    partition,
                    in_flight = flow.in_flight(),
                    "outbox: partition stalled, no acknowledgement for {timeout:?}"
                );
                self.look_at = Some(now);
            }
        }
        self.tell_stalled();
        if self.look_at.is_none_or(|look_at| now < look_at) {
            return false;
        }
        let some = self.flows.values().any(|flow| flow.is_stalled() && flow.in_flight() > 0);
        self.look_at = some.then_some(now + timeout);
        let served = self.flows.values().any(|flow| flow.in_flight() > 0 && !flow.is_stalled());
        some && !served && self.stalled_in_spite_of_leader().await
    }

    /// Whether a partition is stalled although it had a leader all the time: at this look and at the one before.
    async fn stalled_in_spite_of_leader(&mut self) -> bool {
        let Some(partitions) = Arc::clone(&self.broker).partitions().await else {
            tracing::warn!(topic = self.topic, "outbox: no answer from the broker; replacing the producer");
            return true;
        };
        let shares = i32::try_from(self.shares()).unwrap_or(i32::MAX);
        let is_stalled = |partition: i32| self.flows.get(&(partition % shares)).is_some_and(Flow::is_stalled);
        let led = partitions.into_iter().filter(|state| state.has_leader && is_stalled(state.partition));
        let led: BTreeSet<i32> = led.map(|state| state.partition).collect();
        let before = std::mem::replace(&mut self.stalled_with_leader, led);
        let in_spite = self.stalled_with_leader.intersection(&before).next();
        if let Some(partition) = in_spite {
            tracing::warn!(
                topic = self.topic,
                partition,
                "outbox: no acknowledgement although there is a leader; replacing the producer"
            );
        }
        in_spite.is_some()
    }

    fn tell_stalled(&self) {
        let stalled = self.flows.values().filter(|flow| flow.is_stalled()).count();
        self.stalled.set(f64::from(u32::try_from(stalled).unwrap_or(u32::MAX)));
    }

    fn shares(&self) -> usize {
        self.config.shares(self.partitions)
    }

    fn flow(&mut self, partition: i32) -> &mut Flow {
        let window = self.config.max_in_flight_records / self.shares();
        self.flows.entry(partition).or_insert_with(|| Flow::new(window, self.config.backoff_max()))
    }

    async fn take(&mut self, input: Input) -> Result<(), End> {
        match input {
            Input::Rows(rows) => {
                self.verdict.new_rows(Instant::now());
                let push = |(partition, row)| self.flow(partition).push(row).err();
                let dropped: Vec<i64> = rows.into_iter().filter_map(push).collect();
                if dropped.is_empty() { Ok(()) } else { self.report(Outcome::Dropped(dropped)).await }
            }
            Input::Retry(partition, row) => match self.flow(partition).retry(row) {
                Ok(()) => Ok(()),
                Err(id) => self.report(Outcome::Dropped(vec![id])).await,
            },
            Input::BlockRecorded(key) => {
                self.flows.values_mut().for_each(|flow| flow.forget_blocked(&key));
                Ok(())
            }
        }
    }

    /// Nothing more is sent through this producer; what is still answered in time need not be repeated.
    async fn drain(&mut self, mut failure: End) -> End {
        let deadline = Instant::now() + DRAIN;
        while self.flows.values().any(|flow| flow.in_flight() > 0 && !flow.is_stalled()) {
            let Ok(answer) = timeout_at(deadline, self.sent.next()).await else { break };
            match self.settle_ready(answer).await {
                Ok(Some(End::Unacknowledged)) => failure = End::Unacknowledged,
                Ok(_) => {}
                Err(closed) => return closed,
            }
        }
        if self.sent.is_empty() { failure } else { End::Unacknowledged }
    }

    async fn report(&mut self, outcome: Outcome) -> Result<(), End> {
        self.outcomes.send(outcome).await.map_err(|_| End::Closed)
    }
}

/// A partition with a row that can be sent alone: preferably one that was never refused, and of those any.
fn any_flow(flows: &mut BTreeMap<i32, Flow>, now: Instant) -> Option<(i32, &mut Flow)> {
    let can = |flow: &Flow| flow.can_probe(now);
    let unrefused = flows.values().filter_map(can).any(|unrefused| unrefused);
    let flows = flows.iter_mut().filter(|(_, flow)| match can(flow) {
        Some(has) => has || !unrefused,
        None => false,
    });
    flows.map(|(partition, flow)| (*partition, flow)).choose(&mut rand::rng())
}
