//! Appends, relays, consumes once, dead-letters and redrives, as a system of its own would.

use std::sync::Arc;
use std::time::Duration;

use inbox::testing::{self, cuts, permutations};
use inbox::{Bounds, Consumer, ConsumerConfig, Database, HandlerError, Parts, Redrive, list_dead_letters};
use messaging::{
    Bus, Delivered, InMemoryBus, KafkaBus, KafkaConfig, Membership, Record, Subscription, TopicSpec, ends,
    partition_for_key,
};
use outbox::{Outbox, Relay, RelayConfig, clock};
use outside::depot::{self, move_parcel};
use outside::parcel::{Json, ParcelMoved, TOPIC};
use outside::tracking;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const PARTITIONS: i32 = 3;
const TIMEOUT: Duration = Duration::from_secs(60);

/// A database with the tables of both sides, which is dropped at the end.
struct TestDatabase {
    server: String,
    name: String,
    options: PgConnectOptions,
    database: Database,
}

/// The two sides in one database.
struct System {
    tables: TestDatabase,
    bus: Arc<dyn Bus>,
    outbox: Outbox,
    redrive: Redrive,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl TestDatabase {
    #[expect(clippy::disallowed_methods, reason = "the environment names the servers of a test")]
    async fn create() -> Self {
        let server = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL names a PostgreSQL server on which databases may be created; `make test-outside` starts one");
        let name = format!("outside_{}", clock::new_id().simple());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let options = server.parse::<PgConnectOptions>().unwrap().database(&name);
        let mut conn = PgConnection::connect_with(&options).await.unwrap();
        outbox::migrate(&mut conn).await.unwrap();
        inbox::migrate(&mut conn).await.unwrap();
        conn.execute(depot::TABLE).await.unwrap();
        conn.execute(tracking::TABLES).await.unwrap();
        conn.execute("INSERT INTO depots VALUES ('Delft'), ('Gouda')").await.unwrap();
        let database = Database::new(options.clone(), 10, Bounds::default());
        Self { server, name, options, database }
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    /// Applies the parcel's moves through these depots as one batch, without a bus.
    async fn apply(&self, parcel: &str, depots: &[&str]) -> Result<(), HandlerError> {
        let moved = |(sequence, depot): (i64, &&str)| {
            let event = ParcelMoved { parcel: parcel.to_owned(), depot: (*depot).to_owned() };
            (depot::envelope(&event, sequence), event)
        };
        let events = (1..).zip(depots).map(moved).collect();
        testing::apply(&self.database, &tracking::subscriptions(), &(), events).await
    }

    async fn track(&self, parcel: &str) -> Vec<String> {
        let track = sqlx::query_scalar("SELECT depot FROM track WHERE parcel = $1 ORDER BY step");
        track.bind(parcel).fetch_all(&mut self.connect().await).await.unwrap()
    }

    async fn drop(self) {
        let mut admin = PgConnection::connect(&self.server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).await.unwrap();
    }
}

impl System {
    #[expect(clippy::disallowed_methods, reason = "the environment names the servers of a test")]
    async fn start() -> Self {
        let tables = TestDatabase::create().await;
        let bus: Arc<dyn Bus> = match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(kafka) => Arc::new(KafkaBus::try_new(KafkaConfig::new(&kafka)).unwrap()),
            Err(_) => Arc::new(InMemoryBus::new()),
        };
        let topic = TopicSpec { name: TOPIC.to_owned(), partitions: PARTITIONS, replication_factor: 1 };
        bus.create_topics(&[topic]).await.unwrap();

        let database = &tables.database;
        let outbox = Outbox::new("application/json", 1_000_000);
        let relay = Relay::try_new(database.clone(), &outbox, Arc::clone(&bus), RelayConfig::default())
            .unwrap()
            .with_topics(vec![TOPIC.to_owned()]);
        let consumer = Consumer::new(Parts {
            database: database.clone(),
            bus: Arc::clone(&bus),
            topics: vec![TOPIC.to_owned()],
            partitions: PARTITIONS,
            decoder: Json,
            subscriptions: tracking::subscriptions(),
            deps: (),
            group: tables.name.clone(),
            config: ConsumerConfig::default(),
            on_commit: Arc::new(|| {}),
        });
        let (redrive, stop, mut tasks) = (consumer.redrive(), CancellationToken::new(), JoinSet::new());
        let (relaying, consuming) = (stop.clone(), stop.clone());
        tasks.spawn(async move { relay.run(relaying).await.unwrap() });
        tasks.spawn(async move { consumer.run(consuming).await.unwrap() });
        Self { tables, bus, outbox, redrive, stop, tasks }
    }

    /// Moves the parcel through these depots, in one transaction each.
    async fn send(&self, parcel: &str, depots: &[&str]) {
        let mut conn = self.tables.connect().await;
        for depot in depots {
            let mut tx = conn.begin().await.unwrap();
            let event = ParcelMoved { parcel: parcel.to_owned(), depot: (*depot).to_owned() };
            move_parcel(&mut tx, &self.outbox, &event).await.unwrap();
            tx.commit().await.unwrap();
            self.outbox.wake();
        }
    }

    async fn until_track(&self, parcel: &str, expected: &[&str]) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self.tables.track(parcel).await;
            if found == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{parcel}: {found:?}, not {expected:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the topic holds of this parcel.
    async fn records_of(&self, parcel: &str) -> Vec<Record> {
        let wanted = partition_for_key(parcel.as_bytes(), PARTITIONS);
        let topics = Subscription::Topics(vec![TOPIC.to_owned()]);
        let mut member = self.bus.subscribe(&format!("{}-reader", self.tables.name), &topics).await.unwrap();
        let mut partition = loop {
            let Membership::Assigned(assigned) = member.next().await.unwrap() else { continue };
            let found = assigned.into_iter().find(|partition| partition.id().partition == wanted);
            if let Some(partition) = found {
                break partition;
            }
        };
        let (_, marks) = ends::watermarks(&*self.bus, vec![partition.id().clone()]).await.remove(0);
        let (mut next, end) = marks.map(|marks| (marks.low, marks.high)).unwrap();
        partition.seek(next).await.unwrap();
        let mut records = Vec::new();
        while next < end {
            let batch = partition.next_batch(1_000, 1 << 20).await.unwrap().unwrap();
            next = batch.to;
            for Delivered { key, value, headers, .. } in batch.records {
                if key.as_deref() == Some(parcel.as_bytes()) {
                    records.push(Record { topic: TOPIC.to_owned(), key, value, headers });
                }
            }
        }
        drop(partition);
        member.close(Duration::from_secs(5)).await;
        records
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.tables.drop().await;
    }
}

fn unique(parcel: &str) -> String {
    format!("{parcel}-{}", clock::new_id().simple())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_applied_once_and_in_order() {
    let system = System::start().await;
    let (kept, rolled_back) = (unique("kept"), unique("rolled-back"));
    let mut conn = system.tables.connect().await;
    let mut tx = conn.begin().await.unwrap();
    let event = ParcelMoved { parcel: rolled_back.clone(), depot: "Delft".to_owned() };
    move_parcel(&mut tx, &system.outbox, &event).await.unwrap();
    tx.rollback().await.unwrap();

    system.send(&kept, &["Delft", "Gouda", "Delft"]).await;
    system.until_track(&kept, &["Delft", "Gouda", "Delft"]).await;
    assert!(system.records_of(&rolled_back).await.is_empty());

    // The broker delivers again what it delivered before, as after a crash of its producer.
    let records = system.records_of(&kept).await;
    assert_eq!(records.len(), 3);
    let producer = system.bus.producer().await.unwrap();
    for record in records {
        producer.send(record).await.unwrap();
    }
    system.send(&kept, &["Gouda"]).await;
    system.until_track(&kept, &["Delft", "Gouda", "Delft", "Gouda"]).await;
    system.stop().await;
}

#[tokio::test]
async fn a_batch_is_tested_without_kafka_in_every_order_and_cut() {
    let database = TestDatabase::create().await;
    let events = ["Delft", "Gouda", "Delft"];
    for depots in permutations(&events) {
        for cut in cuts(&depots) {
            let parcel = unique("tested");
            for batch in &cut {
                database.apply(&parcel, batch).await.unwrap();
            }
            assert_eq!(database.track(&parcel).await, depots, "{cut:?}");
        }
    }
    let parcel = unique("rejected");
    let rejected = database.apply(&parcel, &["Delft", "Nowhere"]).await.unwrap_err();
    assert!(rejected.to_string().contains("unknown_depot"), "{rejected}");
    assert!(database.track(&parcel).await.is_empty());
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_waits_with_its_key_and_is_redriven_in_order() {
    let system = System::start().await;
    let (late, other) = (unique("late"), unique("other"));
    system.send(&late, &["Delft", "Nowhere", "Gouda"]).await;
    system.send(&other, &["Gouda"]).await;
    system.until_track(&late, &["Delft"]).await;
    system.until_track(&other, &["Gouda"]).await;

    let deadline = Instant::now() + TIMEOUT;
    let letters = loop {
        let letters = list_dead_letters(&system.tables.database, 0, 10).await.unwrap();
        if letters.len() == 2 {
            break letters;
        }
        assert!(Instant::now() < deadline, "{letters:?}");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(letters[0].reason, "unknown_depot");
    assert_eq!(letters[1].reason, "behind_dead_letter");
    system.tables.connect().await.execute("INSERT INTO depots VALUES ('Nowhere')").await.unwrap();
    let redriven = system.redrive.redrive(letters[0].id, "the test").await.unwrap().unwrap();
    assert_eq!((redriven.applied, redriven.remaining), (2, 0));
    assert_eq!(system.tables.track(&late).await, ["Delft", "Nowhere", "Gouda"]);
    system.stop().await;
}
