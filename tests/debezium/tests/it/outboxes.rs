//! An outbox on a server that replicates logically, with messages of every kind.

use std::sync::Arc;
use std::time::Duration;

use contracts::envelope::CONTENT_TYPE;
use database::Database;
use debezium::topic::Topic;
use debezium::{DebeziumServer, Source};
use messaging::{Bus, KafkaBus, KafkaConfig, TopicSpec};
use outbox::{Outbox, Relay, RelayConfig};
use sqlx::{PgConnection, PgPool};
use tempfile::TempDir;
use testkit::broker::{test_kafka, unique};
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage, TestDatabase};
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A Java program starts, a busy machine computes.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(180);

/// A database with an outbox, Kafka with its two topics, and a folder for Debezium Server.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) events: String,
    pub(crate) dead_letters: String,
    kafka: String,
    bus: Arc<dyn Bus>,
    folder: TempDir,
    // Dropped last: the others need it.
    _server: PrivatePostgres,
}

impl Stage {
    /// With a publication and a slot, and without a message.
    pub(crate) async fn set() -> Self {
        let version = debezium::version().await.unwrap();
        println!("Debezium Server {version}");
        let kafka = test_kafka().unwrap();
        let settings = vec![("wal_level".to_owned(), "logical".to_owned())];
        let options = PostgresOptions { settings, ..PostgresOptions::for_tests() };
        let server = PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap();
        let database = TestDatabase::create_on(&server.url("postgres"), "debezium", async |pool| {
            outbox::migrate(&mut *pool.acquire().await?).await?;
            Ok(())
        })
        .await
        .unwrap();
        let config = KafkaConfig { request_timeout_ms: 30_000, ..KafkaConfig::new(&kafka) };
        let bus: Arc<dyn Bus> = Arc::new(KafkaBus::try_new(config).unwrap());
        let (events, dead_letters) = (unique("events"), unique("dead-letters"));
        let topic = |name: &String| TopicSpec { name: name.clone(), partitions: 6, replication_factor: 1 };
        bus.create_topics(&[topic(&events), topic(&dead_letters)]).await.unwrap();
        let mut conn = database.pool().acquire().await.unwrap();
        debezium::prepare(&mut conn, &kafka, &[&events]).await.unwrap();
        drop(conn);
        let folder = tempfile::tempdir().unwrap();
        Self { database, events, dead_letters, kafka, bus, folder, _server: server }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// The topic as it stands on the broker.
    pub(crate) fn topic(&self, name: &str) -> Topic {
        Topic::open(&self.kafka, name).unwrap()
    }

    /// Debezium Server on this database; after a first one, it goes on where that one was.
    pub(crate) fn start_debezium(&self) -> DebeziumServer {
        let source = Source { database: self.database.url(), bootstrap_servers: &self.kafka };
        DebeziumServer::start(self.folder.path(), source).unwrap()
    }

    /// Lets the polling relay publish all that is there.
    pub(crate) async fn poll(&self) {
        let outbox = Outbox::new(CONTENT_TYPE, 1_000_000);
        let database: Database = self.database.another();
        let relay = Relay::try_new(database, &outbox, Arc::clone(&self.bus), RelayConfig::default()).unwrap();
        let (shutdown, mut task) = (CancellationToken::new(), JoinSet::new());
        task.spawn(relay.run(shutdown.clone()));
        eventually("the polling relay publishes all", TIMEOUT, async || {
            let unpublished: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox.unpublished()")
                .fetch_one(self.pool())
                .await
                .unwrap();
            if unpublished == 0 { Ok(()) } else { Err(unpublished) }
        })
        .await;
        shutdown.cancel();
        task.join_next().await.unwrap().unwrap().unwrap();
    }

    /// How many of the log's bytes the slot has not been confirmed yet.
    pub(crate) async fn unconfirmed_bytes(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots
             WHERE slot_name = 'outbox_order'",
        )
        .fetch_one(self.pool())
        .await
        .unwrap()
    }
}

/// A message to insert. Its event has the columns that are always there, or all of them.
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) event: Option<Event>,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
}

/// The event of a message.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) sequence: i64,
    /// The message before it of its key.
    pub(crate) previous_id: Option<i64>,
    /// As PostgreSQL takes it.
    pub(crate) time: &'static str,
    /// Whether cause, user and trace are there.
    pub(crate) complete: bool,
}

/// Inserts a message and returns its id, drawn before.
pub(crate) async fn insert(conn: &mut PgConnection, message: &Message<'_>) -> i64 {
    let Message { topic, key, value, event, headers } = message;
    let names = (!headers.is_empty()).then(|| headers.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let values = (!headers.is_empty()).then(|| headers.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    sqlx::query_scalar(
        "INSERT INTO outbox.messages (id, previous_id, topic, key, value, sequence, event_id, event_type, source,
             subject, event_time, correlation_id, causation_id, user_id, traceparent, tracestate, header_names,
             header_values)
         SELECT nextval('outbox.message_ids'), $1, $2, $3, $4, $5,
             CASE WHEN $6 THEN gen_random_uuid() END, CASE WHEN $6 THEN 'tidings.order.OrderPlaced' END,
             CASE WHEN $6 THEN 'order' END, CASE WHEN $6 THEN 'Bestellung №1, \"z\"' END, $7::timestamptz,
             CASE WHEN $6 THEN gen_random_uuid() END, CASE WHEN $8 THEN gen_random_uuid() END,
             CASE WHEN $8 THEN 'zoë' END,
             CASE WHEN $8 THEN '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' END,
             CASE WHEN $8 THEN 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7' END, $9, $10
         RETURNING id",
    )
    .bind(event.and_then(|event| event.previous_id))
    .bind(topic)
    .bind(key)
    .bind(value)
    .bind(event.map(|event| event.sequence))
    .bind(event.is_some())
    .bind(event.map(|event| event.time))
    .bind(event.is_some_and(|event| event.complete))
    .bind(names)
    .bind(values)
    .fetch_one(conn)
    .await
    .unwrap()
}
