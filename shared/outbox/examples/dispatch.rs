//! Dispatches a parcel: its row and its event in one transaction, published by a relay, read from the topic:
//! `cargo run -p outbox-relay --example dispatch`. PostgreSQL and broker are private ones, which end with this process.

use std::time::Duration;

use embedded::broker::EmbeddedBroker;
use embedded::postgres::{PostgresOptions, PrivatePostgres, Storage};
use messaging::{Bus, Membership, Subscription, TopicSpec};
use outbox::{Bounds, Database, Envelope, Outbox, Relay, RelayConfig, TraceContext, clock, expect_stored};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "parcels";
const PARCEL: &str = "parcel-1";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let postgres = PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await?;
    let mut conn = PgConnection::connect(&postgres.url("postgres")).await?;
    outbox::migrate(&mut conn).await?;
    conn.execute("CREATE TABLE parcels (parcel text PRIMARY KEY, last_message_id bigint)").await?;
    conn.execute("INSERT INTO parcels VALUES ('parcel-1')").await?;
    let broker = EmbeddedBroker::start()?;
    let bus = broker.bus()?;
    let topic = TopicSpec { name: TOPIC.to_owned(), partitions: 1, replication_factor: 1 };
    bus.create_topics(&[topic]).await?;

    let outbox = Outbox::new("application/json", 1_000_000);
    dispatch(&mut conn, &outbox).await?;

    let database = Database::new(postgres.url("postgres").parse()?, 5, Bounds::default());
    let relay = Relay::try_new(database, &outbox, broker.bus()?, RelayConfig::default())?;
    let stop = CancellationToken::new();
    let (relayed, read) = tokio::join!(relay.run(stop.clone()), async {
        let read = read(&*bus).await;
        stop.cancel();
        read
    });
    relayed?;
    read?;
    Ok(postgres.stop().await?)
}

/// Lock the aggregate, number its message, store the aggregate with the message's id, append, commit.
async fn dispatch(conn: &mut PgConnection, outbox: &Outbox) -> anyhow::Result<()> {
    let mut tx = conn.begin().await?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT last_message_id FROM parcels WHERE parcel = $1 FOR UPDATE")
            .bind(PARCEL)
            .fetch_one(&mut *tx)
            .await?;
    let message = outbox.message(TOPIC, envelope(), br#"{"depot": "Delft"}"#.to_vec(), last)?;
    let numbered = outbox.number(&mut tx, vec![message]).await?;
    let stored = sqlx::query(
        "UPDATE parcels SET last_message_id = $2 WHERE parcel = $1 AND last_message_id IS NOT DISTINCT FROM $3",
    )
    .bind(PARCEL)
    .bind(numbered.last_message_id(TOPIC, PARCEL))
    .bind(last)
    .execute(&mut *tx)
    .await?;
    expect_stored(stored.rows_affected(), 1)?;
    outbox.append(&mut tx, &numbered).await?;
    tx.commit().await?;
    outbox.wake();
    Ok(())
}

fn envelope() -> Envelope {
    let event_id = clock::new_id();
    Envelope {
        event_id,
        event_type: "example.parcels.ParcelDispatched".to_owned(),
        source: "depot".to_owned(),
        occurred_at: clock::now(),
        subject: PARCEL.to_owned(),
        sequence: 1,
        correlation_id: event_id,
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}

/// Reads the topic's first record.
async fn read(bus: &dyn Bus) -> anyhow::Result<()> {
    let mut member = bus.subscribe("tracking", &Subscription::Topics(vec![TOPIC.to_owned()])).await?;
    let mut partition = loop {
        if let Membership::Assigned(mut partitions) = member.next().await?
            && let Some(partition) = partitions.pop()
        {
            break partition;
        }
    };
    partition.seek(0).await?;
    for record in partition.next_batch(1, 1 << 20).await.transpose()?.into_iter().flat_map(|it| it.records) {
        for (name, value) in record.headers {
            println!("{name}: {}", String::from_utf8_lossy(&value));
        }
        println!("{}", String::from_utf8_lossy(&record.value.unwrap_or_default()));
    }
    member.close(Duration::from_secs(5)).await;
    Ok(())
}
