//! Tracks parcels: each move once, and only to a depot that is known; one that is not waits as a dead letter, and is redriven:
//! `cargo run -p kafka-inbox --example track`. PostgreSQL and broker are private ones, which end with this process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use embedded::broker::EmbeddedBroker;
use embedded::postgres::{PostgresOptions, PrivatePostgres, Storage};
use inbox::{
    Bounds, BoxError, Consumer, ConsumerConfig, Context, Database, DeadLetter, Decode, Decoded, Envelope,
    HandlerError, Parts, Received, Rejection, Subscriptions, Undecodable, UnitOfWork, list_dead_letters,
};
use messaging::{Bus, Delivered, Record, TopicSpec};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "parcels";
const MOVED: &str = "example.parcels.ParcelMoved";

/// Decodes a value, which is the name of a depot.
struct Depots;

#[async_trait]
impl Decode for Depots {
    type Event = String;

    async fn decode(
        &self,
        _: &str,
        records: &[&Delivered],
    ) -> Result<Vec<Result<Decoded<String>, Undecodable>>, BoxError> {
        let one = |record: &&Delivered| -> Result<_, Rejection> {
            let envelope = Envelope::from_headers(&record.headers)
                .map_err(|error| Rejection::new("no_envelope", error.to_string()))?;
            let event = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
            Ok(Decoded::Event { envelope, event })
        };
        Ok(records.iter().map(|record| Ok(one(record)?)).collect())
    }
}

/// What a batch changes: known depots, and moves to be stored.
#[derive(Clone)]
struct Track {
    depots: Vec<String>,
    moves: Vec<(String, String)>,
}

impl UnitOfWork for Track {
    type Event = String;
    type Deps = ();

    async fn load(_: &(), conn: &mut PgConnection, _: &[Received<String>]) -> Result<Self, HandlerError> {
        let depots = sqlx::query_scalar("SELECT depot FROM depots").fetch_all(conn).await?;
        Ok(Self { depots, moves: Vec::new() })
    }

    async fn store(self, _: &(), conn: &mut PgConnection) -> Result<(), HandlerError> {
        for (parcel, depot) in self.moves {
            let insert = sqlx::query("INSERT INTO track (parcel, depot) VALUES ($1, $2)");
            insert.bind(parcel).bind(depot).execute(&mut *conn).await?;
        }
        Ok(())
    }
}

fn moved(track: &mut Track, depot: &String, context: Context<'_>) -> Result<(), Rejection> {
    if !track.depots.contains(depot) {
        return Err(Rejection::new("unknown_depot", depot));
    }
    track.moves.push((context.envelope.subject.clone(), depot.clone()));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let postgres = PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await?;
    let mut conn = PgConnection::connect(&postgres.url("postgres")).await?;
    inbox::migrate(&mut conn).await?;
    conn.execute("CREATE TABLE depots (depot text); INSERT INTO depots VALUES ('Delft')").await?;
    conn.execute("CREATE TABLE track (step bigserial, parcel text, depot text)").await?;
    let broker = EmbeddedBroker::start()?;
    let bus = broker.bus()?;
    let topic = TopicSpec { name: TOPIC.to_owned(), partitions: 3, replication_factor: 1 };
    bus.create_topics(&[topic]).await?;
    publish(&*bus, &["Delft", "Gouda", "Delft"]).await?;

    let database = Database::new(postgres.url("postgres").parse()?, 10, Bounds::default());
    let consumer = Consumer::new(Parts {
        database: database.clone(),
        bus,
        topics: vec![TOPIC.to_owned()],
        partitions: 3,
        decoder: Depots,
        subscriptions: Subscriptions::new().on_type(MOVED, moved),
        deps: (),
        group: "tracking".to_owned(),
        config: ConsumerConfig::default(),
        on_commit: Arc::new(|| {}),
    });
    let (stop, redrive) = (CancellationToken::new(), consumer.redrive());
    let (consumed, letters) = tokio::join!(consumer.run(stop.clone()), async {
        let letters = dead_letters(&database, 2).await;
        stop.cancel();
        letters
    });
    consumed?;
    let letters = letters?;
    for letter in &letters {
        println!("dead letter: {} {}", letter.reason, letter.detail);
    }
    conn.execute("INSERT INTO depots VALUES ('Gouda')").await?;
    println!("{:?}", redrive.redrive(letters[0].id, "example").await?);
    let track: Vec<String> =
        sqlx::query_scalar("SELECT depot FROM track ORDER BY step").fetch_all(&mut conn).await?;
    println!("parcel-1: {}", track.join(", "));
    Ok(postgres.stop().await?)
}

async fn publish(bus: &dyn Bus, depots: &[&str]) -> anyhow::Result<()> {
    let producer = bus.producer().await?;
    for (sequence, depot) in (1..).zip(depots) {
        let event_id = cloudevents::clock::new_id();
        let envelope = Envelope {
            event_id,
            event_type: MOVED.to_owned(),
            source: "depot".to_owned(),
            occurred_at: cloudevents::clock::now(),
            subject: "parcel-1".to_owned(),
            sequence,
            correlation_id: event_id,
            causation_id: None,
            user_id: None,
            trace: cloudevents::TraceContext::default(),
        };
        let record = Record {
            topic: TOPIC.to_owned(),
            key: Some(b"parcel-1".to_vec()),
            value: Some(depot.as_bytes().to_vec()),
            headers: envelope.to_headers("text/plain"),
        };
        producer.send(record).await?;
    }
    Ok(())
}

/// Waits for so many.
async fn dead_letters(database: &Database, wanted: usize) -> anyhow::Result<Vec<DeadLetter>> {
    for _ in 0..600 {
        let letters = list_dead_letters(database, 0, 10).await?;
        if letters.len() >= wanted {
            return Ok(letters);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("no {wanted} dead letters in 30 s")
}
