//! A consumer of the ledger on an in-memory bus and a database of its own, in the words that the tests use.

use std::sync::Arc;
use std::time::Duration;

use contracts::envelope::CONTENT_TYPE;
use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed};
use contracts::topics::{PARTITIONS, Topic};
use contracts::{AnyEvent, Cause, Codec, Envelope, Topics, TraceContext, clock};
use database::Database;
use events::AvroDecoder;
use inbox::{
    Consumer, ConsumerConfig, ConsumerStatus, DeadLetter, PartitionState, Parts, Redrive, Redriven,
    Subscriptions, list_dead_letters,
};
use messaging::{Bus, Delivered, InMemoryBus, Record, TopicSpec, partition_for_key};
use testkit::broker::all_watermarks;
use testkit::postgres::TestDatabase;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ledger::{Faults, Ledger, TABLE, subscriptions};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Stack {
    pub(crate) database: TestDatabase,
    pub(crate) bus: Arc<InMemoryBus>,
    pub(crate) codec: Arc<Codec>,
    /// What the consumers know that are added from now on.
    pub(crate) release: Arc<Codec>,
    pub(crate) faults: Arc<Faults>,
    /// What the consumers do that are added from now on.
    pub(crate) subscriptions: fn() -> Subscriptions<Ledger>,
    /// What the consumers read that are added from now on.
    pub(crate) topics: Vec<Topic>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) max_batch_records: usize,
    pub(crate) stalled_after_ms: u64,
    pub(crate) deduplication_days: u32,
    redrive: Option<Redrive>,
    tasks: JoinSet<()>,
}

impl Stack {
    /// Without a consumer yet.
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create("inbox", async |pool| {
            inbox::migrate(&mut *pool.acquire().await?).await?;
            sqlx::raw_sql(TABLE).execute(pool).await?;
            Ok(())
        })
        .await;
        let codec = Codec::offline(Topics::default());
        Self {
            database,
            bus: new_bus(&codec).await,
            release: Arc::clone(&codec),
            codec,
            faults: Arc::new(Faults::none()),
            subscriptions,
            topics: vec![Topic::Orders],
            shutdown: CancellationToken::new(),
            max_batch_records: ConsumerConfig::default().max_batch_records,
            stalled_after_ms: ConsumerConfig::default().stalled_after_ms,
            deduplication_days: ConsumerConfig::default().deduplication_days,
            redrive: None,
            tasks: JoinSet::new(),
        }
    }

    /// The topics are deleted and made anew.
    pub(crate) async fn make_topics_anew(&mut self) {
        self.bus = new_bus(&self.codec).await;
    }

    /// Adds a consumer. Two of different groups read everything twice, as two owners of one partition would.
    pub(crate) fn consume_as(&mut self, group: &str) -> ConsumerStatus {
        self.consume_on(Arc::clone(&self.bus) as Arc<dyn Bus>, group)
    }

    pub(crate) fn consume_on(&mut self, bus: Arc<dyn Bus>, group: &str) -> ConsumerStatus {
        self.run(self.consumer_on(bus, self.database.database().clone(), group))
    }

    /// The same with another way to the database.
    pub(crate) fn consume_through(&mut self, database: Database, group: &str) -> ConsumerStatus {
        self.run(self.consumer(database, group))
    }

    fn run(&mut self, consumer: Consumer) -> ConsumerStatus {
        let status = consumer.status();
        self.redrive = Some(consumer.redrive());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { consumer.run(shutdown).await.unwrap() });
        status
    }

    pub(crate) fn consumer(&self, database: Database, group: &str) -> Consumer {
        self.consumer_on(Arc::clone(&self.bus) as Arc<dyn Bus>, database, group)
    }

    pub(crate) fn consumer_on(&self, bus: Arc<dyn Bus>, database: Database, group: &str) -> Consumer {
        Consumer::new(Parts {
            database,
            bus,
            topics: self.topics.iter().map(|topic| self.codec.topics().name(*topic)).collect(),
            partitions: PARTITIONS,
            decoder: AvroDecoder::new(Arc::clone(&self.release)),
            subscriptions: (self.subscriptions)(),
            deps: Arc::clone(&self.faults),
            group: group.to_owned(),
            config: ConsumerConfig {
                max_batch_records: self.max_batch_records,
                stalled_after_ms: self.stalled_after_ms,
                deduplication_days: self.deduplication_days,
                backoff_initial_ms: 1,
                backoff_max_ms: 10,
                ..ConsumerConfig::default()
            },
            on_commit: Arc::new(|| {}),
        })
    }

    /// Stops all consumers and waits for them.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.shutdown = CancellationToken::new();
    }

    /// Ends all consumers where they are, as the end of their process does: what they have not committed is rolled back.
    pub(crate) async fn crash(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn publish(&self, event: &AnyEvent) {
        self.publish_raw(self.record(event)).await;
    }

    /// Appends the event whether the broker is available or not.
    pub(crate) fn append(&self, event: &AnyEvent) {
        self.append_to(partition_for_key(event.key().as_bytes(), PARTITIONS), self.record(event));
    }

    /// The same of a record, to this partition.
    pub(crate) fn append_to(&self, partition: i32, record: Record) {
        let Record { topic, key, value, headers } = record;
        let record = Delivered { offset: 0, key, value, headers, timestamp_ms: None };
        self.bus.append_raw(&topic, partition, record).unwrap();
    }

    pub(crate) fn record(&self, event: &AnyEvent) -> Record {
        let envelope = Envelope::of(event, "order", &cause());
        Record {
            topic: self.codec.topics().name(event.topic()),
            key: Some(event.key().into_bytes()),
            value: Some(self.codec.encode(event).unwrap()),
            headers: envelope.to_headers(CONTENT_TYPE),
        }
    }

    pub(crate) async fn publish_raw(&self, record: Record) {
        let producer = self.bus.producer().await.unwrap();
        producer.send(record).await.unwrap();
    }

    /// Waits until every record on every topic is behind the position.
    pub(crate) async fn caught_up(&self) {
        eventually("all records are behind the positions", TIMEOUT, || async {
            for topic in &self.topics {
                let topic = self.codec.topics().name(*topic);
                for marks in all_watermarks(&*self.bus, &topic).await.unwrap() {
                    let next: Option<i64> = sqlx::query_scalar(
                        "SELECT next_offset FROM inbox.consumer_positions WHERE topic = $1 AND partition = $2",
                    )
                    .bind(&topic)
                    .bind(marks.partition)
                    .fetch_optional(self.database.pool())
                    .await
                    .unwrap();
                    if next.unwrap_or(0) != marks.high {
                        return Err(format!("{topic}/{}: {next:?} of {}", marks.partition, marks.high));
                    }
                }
            }
            Ok(())
        })
        .await;
    }

    /// The sequences that took effect for an order, in the order in which they did.
    pub(crate) async fn effects(&self, order_id: Uuid) -> Vec<i64> {
        sqlx::query_scalar("SELECT sequences FROM ledger WHERE order_id = $1")
            .bind(order_id)
            .fetch_optional(self.database.pool())
            .await
            .unwrap()
            .unwrap_or_default()
    }

    /// What applies dead letters again, of the consumer that came last.
    pub(crate) fn redriver(&self) -> Redrive {
        self.redrive.clone().unwrap()
    }

    /// Redrives the key of the oldest dead letter.
    pub(crate) async fn redrive_oldest(&self) -> Redriven {
        let oldest = self.listed().await.swap_remove(0);
        self.redriver().redrive(oldest.id, "a test").await.unwrap().unwrap()
    }

    pub(crate) async fn redrive(&self, id: i64) -> Option<Redriven> {
        self.redriver().redrive(id, "a test").await.unwrap()
    }

    /// The outcome of an event in the inbox.
    pub(crate) async fn outcome(&self, event_id: Uuid) -> Option<String> {
        sqlx::query_scalar("SELECT outcome FROM inbox.events WHERE event_id = $1")
            .bind(event_id)
            .fetch_optional(self.database.pool())
            .await
            .unwrap()
    }

    /// Lets everything so far, and the present, lie below the floor.
    pub(crate) async fn forget_everything(&self) {
        sqlx::query("SELECT inbox.drop_table_partitions(now() + interval '2 weeks')")
            .execute(self.database.pool())
            .await
            .unwrap();
    }

    /// What an operator sees.
    pub(crate) async fn listed(&self) -> Vec<DeadLetter> {
        list_dead_letters(self.database.database(), 0, 100).await.unwrap()
    }

    /// The dead letters: event id and reason, in the order of redrive.
    pub(crate) async fn dead_letters(&self) -> Vec<(Uuid, String)> {
        sqlx::query_as("SELECT event_id, reason FROM inbox.dead_letters ORDER BY id")
            .fetch_all(self.database.pool())
            .await
            .unwrap()
    }
}

/// A bus with empty topics.
async fn new_bus(codec: &Codec) -> Arc<InMemoryBus> {
    let bus = Arc::new(InMemoryBus::new());
    let topic =
        |topic| TopicSpec { name: codec.topics().name(topic), partitions: PARTITIONS, replication_factor: 1 };
    bus.create_topics(&Topic::ALL.map(topic)).await.unwrap();
    bus
}

/// Waits until a partition is stopped, and gives the reason.
pub(crate) async fn stopped(status: &ConsumerStatus) -> String {
    eventually("a partition is stopped", TIMEOUT, async || {
        let partitions = status.partitions();
        let reason = partitions.values().find_map(|state| match state {
            PartitionState::Stopped { error } => Some(error.clone()),
            _ => None,
        });
        reason.ok_or(partitions)
    })
    .await
}

pub(crate) fn cause() -> Cause {
    Cause {
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}

pub(crate) fn confirmed(order_id: Uuid, sequence: i64) -> AnyEvent {
    AnyEvent::OrderConfirmed(OrderConfirmed {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id,
        sequence,
        payment_id: clock::new_id(),
    })
}

pub(crate) fn cancelled(order_id: Uuid, sequence: i64, detail: &str) -> AnyEvent {
    AnyEvent::OrderCancelled(OrderCancelled {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id,
        sequence,
        reason: CancellationReason::CustomerRequest,
        detail: Some(detail.to_owned()),
    })
}
