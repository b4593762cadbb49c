//! A rebuild asks the registry for schemas while it has no transaction open.

use std::sync::{Arc, Mutex};

use analytics::adapters::postgres::rebuilds;
use analytics::adapters::rebuild::Rebuilder;
use contracts::clock::{new_id, now};
use contracts::topics::PARTITIONS;
use contracts::{Codec, RegistryConfig, Topic, Topics};
use messaging::partition_for_key;
use service::Deps;
use sqlx::PgPool;
use testkit::registry::EmbeddedRegistry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::rebuilds::Live;
use crate::support::{confirmed, placed, subscriptions};

/// For each request to a registry, the sessions that had a transaction open meanwhile.
type Observed = Arc<Mutex<Vec<Vec<i32>>>>;

/// Forwards to a registry, and notes with each request who has a transaction open in the database.
async fn observed(registry: &EmbeddedRegistry, pool: PgPool) -> (RegistryConfig, Observed, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let config = config(&format!("http://{}", listener.local_addr().unwrap()));
    let server = registry.url().strip_prefix("http://").unwrap().to_owned();
    let (observed, mut tasks) = (Observed::default(), JoinSet::new());
    let theirs = Arc::clone(&observed);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let (mut requests, mut answers) = client.into_split();
            let (mut theirs_answers, mut theirs_requests) =
                TcpStream::connect(&server).await.unwrap().into_split();
            let (pool, observed) = (pool.clone(), Arc::clone(&theirs));
            connections.spawn(async move {
                let mut request = [0; 4096];
                while let Ok(length @ 1..) = requests.read(&mut request).await {
                    let open = in_transaction(&pool).await;
                    observed.lock().unwrap().push(open);
                    theirs_requests.write_all(&request[..length]).await.unwrap();
                }
            });
            connections.spawn(async move {
                let _ended = copy(&mut theirs_answers, &mut answers).await;
            });
        }
    });
    (config, observed, tasks)
}

async fn in_transaction(pool: &PgPool) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

fn config(url: &str) -> RegistryConfig {
    RegistryConfig { url: url.to_owned(), auto_register_schemas: true }
}

/// An order whose key lies on another partition than that of `other`.
fn on_another_partition(other: Uuid) -> (Uuid, i32) {
    let partition_of = |order: Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS);
    let mut orders = std::iter::repeat_with(new_id);
    let order = orders.find(|order| partition_of(*order) != partition_of(other)).unwrap();
    (order, partition_of(order))
}

#[tokio::test]
async fn a_rebuild_that_meets_unknown_schemas_asks_for_them_outside_of_its_transactions() {
    let registry = EmbeddedRegistry::start_anywhere().await.unwrap();
    let types: Vec<&str> = Codec::offline(Topics::default()).known_types().into_iter().collect();
    let codec = Codec::connect(&config(&registry.url()), Topics::default(), &types, &[]).await.unwrap();
    let mut live = Live::start_with(codec).await;
    let first = new_id();
    live.publish(&[placed(first, "GBP", &[("mug", 1, 250)])]).await;
    live.quiet().await;
    live.stop_consuming().await;
    // What the live consumer applies while the rebuild waits for the swap, of a type that the rebuild has not met.
    let (last, partition) = on_another_partition(first);
    let event = confirmed(last);
    live.publish(std::slice::from_ref(&event)).await;
    live.analytics.apply(&[event]).await.unwrap();
    // Its first batch is that of the swap: a position that is there would be locked.
    sqlx::query("DELETE FROM inbox.consumer_positions WHERE topic = $1 AND partition = $2")
        .bind(live.deps.codec.topics().name(Topic::Orders))
        .bind(partition)
        .execute(live.analytics.pool())
        .await
        .unwrap();
    let mut batch = live.batch_of_the_generation().await;
    let of_batch: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *batch).await.unwrap();
    let commit = live.commit_at_the_swap(batch, partition);

    // A replica that has just started and knows no schema.
    let (config, observed, _forwarding) = observed(&registry, live.analytics.pool().clone()).await;
    let codec = Codec::connect(&config, Topics::default(), &[], &[]).await.unwrap();
    let Deps { database, bus, outbox, .. } = live.deps.clone();
    let deps = Deps::new("analytics", database, bus, codec, outbox);
    let asked = rebuilds::begin(live.analytics.database(), now()).await.unwrap().unwrap();
    observed.lock().unwrap().clear();
    let rebuilder = Rebuilder::new(&deps, subscriptions(), Arc::new(Notify::new()));
    let (made, ()) = tokio::join!(rebuilder.make_next(), commit);
    made.unwrap();
    let rebuild = rebuilds::find(live.analytics.database(), asked.generation).await.unwrap().unwrap();
    assert_eq!(rebuild.state, "live", "{rebuild:?}");
    let requests: Vec<Vec<i32>> = observed.lock().unwrap().clone();
    assert!(requests.len() >= 2, "one schema in the catch-up, one at the swap: {requests:?}");
    let others = requests.iter().flatten().filter(|session| **session != of_batch);
    assert_eq!(others.count(), 0, "transactions that were open during a request: {requests:?}, {of_batch}");
    assert_eq!(live.analytics.seen().await.funnel.values().sum::<i64>(), 2, "both events are counted");
}
