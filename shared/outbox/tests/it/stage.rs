//! A database, a bus and an outbox of a test's own, in the words that the tests use.

use std::sync::Arc;
use std::time::Duration;

use contracts::envelope::CONTENT_TYPE;
use contracts::{Codec, Envelope, Topic, Topics, TraceContext, clock};
use database::Operation;
use messaging::{Bus, InMemoryBus, KafkaBus, KafkaConfig, TopicSpec};
use outbox::internal::Failpoints;
use outbox::{AppendError, Backlog, Message, Outbox, RelayError, expect_stored};
use sqlx::{PgConnection, PgPool};
use testkit::broker::{EmbeddedBroker, test_kafka, unique};
use testkit::postgres::TestDatabase;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::debezium_relay::{self, DebeziumRelay};
use crate::relays::{Kind, Poll, kind};
use crate::watcher::Watcher;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// A slot waits for all transactions of the server that are open, those of other tests among them.
const SLOT_TIMEOUT: Duration = Duration::from_secs(120);

/// A stand-in for any service's aggregate: the row whose lock orders its events.
const AGGREGATES: &str = "CREATE TABLE aggregates (
    key text PRIMARY KEY, last_sequence bigint NOT NULL DEFAULT 0, last_message_id bigint,
    CHECK ((last_sequence = 0) = (last_message_id IS NULL)))";

pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) codec: Arc<Codec>,
    pub(crate) outbox: Outbox,
    pub(crate) orders: String,
    pub(crate) stock: String,
    pub(crate) watcher: Watcher,
    /// What relays in place of ours. Dropped last: it has the server.
    debezium: Option<DebeziumRelay>,
}

impl Stage {
    /// On the real Kafka that tests should use, or else in memory. What a real broker is asked to do wrong is tested
    /// [in memory](Self::in_memory).
    pub(crate) async fn set() -> Self {
        match (kind(), test_kafka()) {
            (Kind::Poll | Kind::Wal, None) => Self::in_memory().await.0,
            (Kind::Poll | Kind::Wal, Some(kafka)) => Self::on(kafka_bus(&kafka)).await,
            (Kind::Debezium, kafka) => Self::with_debezium(kafka.expect("Kafka: make test-debezium")).await,
        }
    }

    /// On a server of its own, whose slot Debezium Server reads.
    async fn with_debezium(kafka: String) -> Self {
        let bus = kafka_bus(&kafka);
        let debezium = DebeziumRelay::create(kafka).await;
        let database = TestDatabase::create_on(&debezium.server(), "outbox", migrate).await.unwrap();
        Self::of(database, bus, Some(debezium)).await
    }

    /// On an in-memory bus, which the test can make fail.
    pub(crate) async fn in_memory() -> (Self, InMemoryBus) {
        let bus = InMemoryBus::new();
        (Self::on(Arc::new(bus.clone())).await, bus)
    }

    /// The same in a database of the server at this URL.
    pub(crate) async fn in_memory_at(server: &str) -> (Self, InMemoryBus) {
        let bus = InMemoryBus::new();
        let database = TestDatabase::create_on(server, "outbox", migrate).await.unwrap();
        (Self::of(database, Arc::new(bus.clone()), None).await, bus)
    }

    /// On the embedded broker.
    pub(crate) async fn embedded(broker: &EmbeddedBroker) -> Self {
        Self::on(broker.bus_with(patient(broker.config())).unwrap()).await
    }

    /// On this bus, with topics of its own: a broker that tests share keeps what the others published.
    async fn on(bus: Arc<dyn Bus>) -> Self {
        Self::of(TestDatabase::create("outbox", migrate).await, bus, None).await
    }

    async fn of(database: TestDatabase, bus: Arc<dyn Bus>, debezium: Option<DebeziumRelay>) -> Self {
        let names = Topics::new(unique("test"));
        let (orders, stock) = (names.name(Topic::Orders), names.name(Topic::Stock));
        let topics = [&orders, &stock].map(|name| TopicSpec {
            name: name.clone(),
            partitions: 6,
            replication_factor: 1,
        });
        bus.create_topics(&topics).await.unwrap();
        let timeout = if debezium.is_some() { debezium_relay::TIMEOUT } else { TIMEOUT };
        let watcher = Watcher::start(&*bus, &[orders.clone(), stock.clone()], timeout).await;
        let codec = Codec::offline(names);
        let outbox = outbox();
        let stage = Self { database, bus, codec, outbox, orders, stock, watcher, debezium };
        match &stage.debezium {
            Some(debezium) => debezium.make_slot(stage.pool(), &[&stage.orders, &stage.stock]).await,
            None if kind() == Kind::Wal => stage.make_slot().await,
            None => {}
        }
        stage
    }

    /// Lets a relay of the log take over, so that all that is committed from now on comes from there.
    pub(crate) async fn make_slot(&self) {
        let relay = Poll::wal().relay(&self.database.another(), &self.outbox, Arc::clone(&self.bus), None);
        let (relay, shutdown) =
            (relay.with_topics(vec![self.orders.clone(), self.stock.clone()]), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(relay.run(shutdown.clone()));
        eventually("the log is read", SLOT_TIMEOUT, async || {
            let topics: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox.topics WHERE relay = 'wal'")
                .fetch_one(self.pool())
                .await
                .unwrap();
            if topics > 0 { Ok(()) } else { Err("no slot") }
        })
        .await;
        Running { shutdown, task }.stop().await;
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog, sqlx::Error> {
        let database = self.database.database();
        database.transaction(Operation::Sample, |mut tx| async move { Backlog::read(&mut tx).await }).await
    }

    /// Starts a relay that shares this stage's outbox, as it does within a service.
    pub(crate) fn start(&self, factory: &Poll) -> Running {
        self.start_with(factory, &self.outbox, None)
    }

    pub(crate) fn start_with(
        &self,
        factory: &Poll,
        outbox: &Outbox,
        failpoints: Option<Arc<dyn Failpoints>>,
    ) -> Running {
        let (shutdown, mut task) = (CancellationToken::new(), JoinSet::new());
        if let Some(debezium) = &self.debezium {
            task.spawn(debezium.run(self.database.url(), shutdown.clone()));
        } else {
            let relay = factory.relay(&self.database.another(), outbox, Arc::clone(&self.bus), failpoints);
            task.spawn(relay.run(shutdown.clone()));
        }
        Running { shutdown, task }
    }

    /// Commits one message of each key, in this order, and wakes the relay.
    pub(crate) async fn commit(&self, topic: &str, keys: &[&str]) {
        commit(self.pool(), &self.outbox, topic, keys).await;
        self.outbox.wake();
    }

    /// Waits until nothing is unpublished.
    pub(crate) async fn until_published(&self) {
        self.until_unpublished(0).await;
    }

    /// Waits until exactly so many messages are unpublished.
    pub(crate) async fn until_unpublished(&self, messages: i64) {
        eventually("what can be published is", self.watcher.timeout, async || {
            match self.unpublished().await {
                unpublished if unpublished == messages => Ok(()),
                unpublished => Err(unpublished),
            }
        })
        .await;
    }

    /// How many messages are unpublished. Debezium marks none: those that the watcher has not seen, or at least so many.
    pub(crate) async fn unpublished(&self) -> i64 {
        if self.debezium.is_some() {
            return self.unseen().await;
        }
        sqlx::query_scalar("SELECT count(*) FROM outbox.unpublished()").fetch_one(self.pool()).await.unwrap()
    }

    async fn unseen(&self) -> i64 {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM outbox.messages").fetch_one(self.pool()).await.unwrap();
        // Repeated records count as well: only from here on it takes a comparison.
        let without = rows - i64::try_from(self.watcher.count()).unwrap();
        if without > 0 {
            return without;
        }
        let messages: Vec<(String, Vec<u8>, i64)> =
            sqlx::query_as("SELECT topic, key, sequence FROM outbox.messages")
                .fetch_all(self.pool())
                .await
                .unwrap();
        i64::try_from(self.watcher.missing(&messages)).unwrap()
    }

    /// Waits until this key is blocked, and returns the reason.
    pub(crate) async fn until_blocked(&self, topic: &str, key: &str) -> String {
        eventually("the key is blocked", TIMEOUT, async || {
            sqlx::query_scalar("SELECT reason FROM outbox.blocked_keys WHERE topic = $1 AND key = $2")
                .bind(topic)
                .bind(key.as_bytes())
                .fetch_optional(self.pool())
                .await
                .unwrap()
                .ok_or("not blocked")
        })
        .await
    }

    pub(crate) async fn blocked(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox.blocked_keys").fetch_one(self.pool()).await.unwrap()
    }

    /// Lets ids go on at the beginning of the table partition of this number.
    pub(crate) async fn continue_in_partition(&self, number: i64) {
        sqlx::query("SELECT setval('outbox.message_ids', $1 * 1048576 - 1)")
            .bind(number)
            .execute(self.pool())
            .await
            .unwrap();
    }
}

async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    outbox::migrate(&mut *pool.acquire().await?).await?;
    sqlx::query(AGGREGATES).execute(pool).await?;
    Ok(())
}

fn kafka_bus(bootstrap_servers: &str) -> Arc<dyn Bus> {
    Arc::new(KafkaBus::try_new(patient(KafkaConfig::new(bootstrap_servers))).unwrap())
}

/// Questions may take their time on a busy machine.
fn patient(config: KafkaConfig) -> KafkaConfig {
    KafkaConfig { request_timeout_ms: 30_000, ..config }
}

/// A relay at work.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinSet<Result<(), RelayError>>,
}

impl Running {
    /// Asks the relay to stop and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        self.ended().await.unwrap();
    }

    /// Waits for the relay's own end.
    pub(crate) async fn ended(&mut self) -> Result<(), RelayError> {
        let ended = tokio::time::timeout(TIMEOUT, self.task.join_next()).await;
        ended.expect("the relay ends in time").expect("it runs").expect("it does not panic")
    }

    /// Ends the relay without asking, as a panic of its process would.
    pub(crate) async fn abort(mut self) {
        self.task.shutdown().await;
    }
}

/// An outbox whose process only relays.
pub(crate) fn outbox() -> Outbox {
    Outbox::new(CONTENT_TYPE, 1_000_000)
}

/// Commits one message of each key, in this order, as a service does: lock, number, store, append, commit.
pub(crate) async fn commit(pool: &PgPool, outbox: &Outbox, topic: &str, keys: &[&str]) {
    let mut transaction = pool.begin().await.unwrap();
    let mut aggregates = Vec::new();
    for key in keys {
        aggregates.push(lock(&mut transaction, key).await);
    }
    publish(&mut transaction, outbox, topic, aggregates).await.unwrap();
    transaction.commit().await.unwrap();
}

/// A row of `aggregates`.
pub(crate) struct Aggregate {
    pub(crate) key: String,
    pub(crate) last_sequence: i64,
    pub(crate) last_message_id: Option<i64>,
}

/// Locks the aggregate and loads it, in two statements.
pub(crate) async fn lock(conn: &mut PgConnection, key: &str) -> Aggregate {
    sqlx::query("INSERT INTO aggregates (key) VALUES ($1) ON CONFLICT (key) DO NOTHING")
        .bind(key)
        .execute(&mut *conn)
        .await
        .unwrap();
    let (last_sequence, last_message_id) =
        sqlx::query_as("SELECT last_sequence, last_message_id FROM aggregates WHERE key = $1 FOR UPDATE")
            .bind(key)
            .fetch_one(conn)
            .await
            .unwrap();
    Aggregate { key: key.to_owned(), last_sequence, last_message_id }
}

/// Appends the next message of each aggregate, and stores the aggregates.
pub(crate) async fn publish(
    conn: &mut PgConnection,
    outbox: &Outbox,
    topic: &str,
    aggregates: Vec<Aggregate>,
) -> Result<(), AppendError> {
    let next = |aggregate: &Aggregate| {
        let Aggregate { key, last_sequence, last_message_id } = aggregate;
        message_after(topic, key, last_sequence + 1, *last_message_id)
    };
    let numbered = outbox.number(conn, aggregates.iter().map(next).collect()).await?;
    for Aggregate { key, last_sequence, last_message_id } in aggregates {
        let stored = sqlx::query(
            "UPDATE aggregates SET last_sequence = $2, last_message_id = $3
             WHERE key = $1 AND last_message_id IS NOT DISTINCT FROM $4",
        )
        .bind(&key)
        .bind(last_sequence + 1)
        .bind(numbered.last_message_id(topic, &key))
        .bind(last_message_id)
        .execute(&mut *conn)
        .await?;
        expect_stored(stored.rows_affected(), 1)?;
    }
    outbox.append(conn, &numbered).await
}

/// Numbers and appends messages without storing their aggregates.
pub(crate) async fn append(
    conn: &mut PgConnection,
    outbox: &Outbox,
    messages: Vec<Message>,
) -> Result<(), AppendError> {
    let numbered = outbox.number(conn, messages).await?;
    outbox.append(conn, &numbered).await
}

/// The first messages of a key, as far as the database knows: its bytes name it.
pub(crate) fn message(topic: &str, key: &str, sequence: i64) -> Message {
    message_after(topic, key, sequence, None)
}

fn message_after(topic: &str, key: &str, sequence: i64, last_message_id: Option<i64>) -> Message {
    let envelope = Envelope {
        event_id: clock::new_id(),
        event_type: "tidings.order.OrderPlaced".to_owned(),
        source: "test".to_owned(),
        occurred_at: clock::now(),
        subject: key.to_owned(),
        sequence,
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let value = format!("\0{key}#{sequence}").into_bytes();
    outbox().message(topic, envelope, value, last_message_id).unwrap()
}
