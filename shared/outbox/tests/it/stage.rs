//! A database, a bus and an outbox of a test's own, in the words that the tests use.

use std::sync::Arc;
use std::time::Duration;

use contracts::{Codec, Envelope, Topics, TraceContext, ambient};
use messaging::{Bus, InMemoryBus, TopicSpec};
use outbox::relay::{NoProbe, Probe, RelayError};
use outbox::{Message, Outbox};
use sqlx::{PgConnection, PgPool};
use testkit::postgres::TestDatabase;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::relays::RelayFactory;
use crate::watcher::Watcher;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const ORDERS: &str = "test.orders";
pub(crate) const STOCK: &str = "test.stock";

/// A stand-in for any service's aggregate: the row whose lock orders its events.
const AGGREGATES: &str = "CREATE TABLE aggregates (key text PRIMARY KEY, sequence bigint NOT NULL DEFAULT 0)";

pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) outbox: Outbox,
    pub(crate) watcher: Watcher,
}

impl Stage {
    /// On an in-memory bus of its own.
    pub(crate) async fn in_memory() -> (Self, InMemoryBus) {
        let bus = InMemoryBus::new();
        (Self::on(Arc::new(bus.clone())).await, bus)
    }

    /// On this bus.
    pub(crate) async fn on(bus: Arc<dyn Bus>) -> Self {
        Self::on_topics(bus, &[ORDERS.to_owned(), STOCK.to_owned()]).await
    }

    /// With topics of its own: a broker that tests share keeps what the others published.
    pub(crate) async fn on_topics(bus: Arc<dyn Bus>, names: &[String]) -> Self {
        let database = TestDatabase::create("outbox", async |pool| {
            outbox::migrate(pool).await?;
            sqlx::query(AGGREGATES).execute(pool).await?;
            Ok(())
        })
        .await;
        let topic = |name: &String| TopicSpec { name: name.clone(), partitions: 6, replication_factor: 1 };
        let topics: Vec<TopicSpec> = names.iter().map(topic).collect();
        bus.create_topics(&topics).await.unwrap();
        let watcher = Watcher::start(&*bus, names).await;
        Self { database, bus, outbox: outbox(), watcher }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Starts a relay that shares this stage's outbox, as it does within a service.
    pub(crate) fn start(&self, factory: &dyn RelayFactory) -> Running {
        self.start_with(factory, &self.outbox, Arc::new(NoProbe))
    }

    pub(crate) fn start_with(
        &self,
        factory: &dyn RelayFactory,
        outbox: &Outbox,
        probe: Arc<dyn Probe>,
    ) -> Running {
        let relay = factory.relay(&self.database.another_pool(), outbox, Arc::clone(&self.bus), probe);
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(relay.run(shutdown.clone()));
        Running { shutdown, task }
    }

    /// Commits one message of each key, in this order, and wakes the relay.
    pub(crate) async fn commit(&self, topic: &str, keys: &[&str]) {
        commit(self.pool(), &self.outbox, topic, keys).await;
        self.outbox.wake();
    }

    /// Waits until nothing is unfinished.
    pub(crate) async fn until_finished(&self) {
        self.until_unfinished(0).await;
    }

    /// Waits until exactly so many rows are unfinished.
    pub(crate) async fn until_unfinished(&self, rows: i64) {
        eventually("what can be finished is", PATIENCE, async || match self.unfinished().await {
            unfinished if unfinished == rows => Ok(()),
            unfinished => Err(unfinished),
        })
        .await;
    }

    pub(crate) async fn unfinished(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox.messages WHERE finished_at IS NULL")
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// Waits until this key is stopped, and tells how.
    pub(crate) async fn until_stopped(&self, topic: &str, key: &str) -> String {
        eventually("the key is stopped", PATIENCE, async || {
            sqlx::query_scalar("SELECT kind FROM outbox.stopped_keys WHERE topic = $1 AND key = $2")
                .bind(topic)
                .bind(key)
                .fetch_optional(self.pool())
                .await
                .unwrap()
                .ok_or("not stopped")
        })
        .await
    }
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
        let ended = tokio::time::timeout(PATIENCE, self.task.join_next()).await;
        ended.expect("the relay ends in time").expect("it runs").expect("it does not panic")
    }

    /// Ends the relay without asking, as a panic of its process would.
    pub(crate) async fn abort(mut self) {
        self.task.shutdown().await;
    }
}

/// An outbox of a process.
pub(crate) fn outbox() -> Outbox {
    Outbox::new(Codec::offline(Topics::new("test")), "test", 1_000_000)
}

/// Commits one message of each key, in this order, as a service does: lock, draw, insert, commit.
pub(crate) async fn commit(pool: &PgPool, outbox: &Outbox, topic: &str, keys: &[&str]) {
    let mut transaction = pool.begin().await.unwrap();
    let mut messages = Vec::new();
    for key in keys {
        let sequence = next_sequence(&mut transaction, key).await;
        messages.push(message(topic, key, sequence));
    }
    outbox.append(&mut transaction, &messages).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Locks the aggregate and takes its next sequence.
pub(crate) async fn next_sequence(conn: &mut PgConnection, key: &str) -> i64 {
    sqlx::query_scalar(
        "INSERT INTO aggregates AS a (key, sequence) VALUES ($1, 1)
         ON CONFLICT (key) DO UPDATE SET sequence = a.sequence + 1 RETURNING sequence",
    )
    .bind(key)
    .fetch_one(conn)
    .await
    .unwrap()
}

/// A message whose bytes name it.
pub(crate) fn message(topic: &str, key: &str, sequence: i64) -> Message {
    let envelope = Envelope {
        event_id: ambient::new_id(),
        event_type: "tidings.order.OrderPlaced".to_owned(),
        source: "test".to_owned(),
        occurred_at: ambient::now(),
        subject: key.to_owned(),
        sequence,
        correlation_id: ambient::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    Message::from_parts(topic.to_owned(), envelope, format!("\0{key}#{sequence}").into_bytes())
}
