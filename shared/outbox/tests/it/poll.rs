//! The polling relay: the suite's interleavings, and what only this relay promises.

use std::sync::Arc;

use outbox::{Relay, RelayConfig, RelayError, RelayKind};
use sqlx::Executor as _;

use crate::interleavings::{Pace, outcomes, run_all};
use crate::relays::{Poll, Reads};
use crate::stage::{Stage, commit, outbox};

pub(crate) async fn every_interleaving_of_two_transactions_is_published_in_sequence() {
    let plans: Vec<_> = [[0, 0], [0, 1]].iter().flat_map(|keys| outcomes(keys)).collect();
    for reads in Reads::all() {
        let factory = Poll::default().reading(*reads);
        let run = run_all(&factory, &plans, false, &[Pace::EachCommit, Pace::AtTheEnd]).await;
        println!("interleavings of two transactions, each at two paces, read {reads:?}: {run}");
        assert_eq!(run, 2 * (96 + 280));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_interleaving_of_three_transactions_is_published_in_sequence() {
    let plans: Vec<_> = [[0, 0, 0], [0, 0, 1], [0, 1, 2]].iter().flat_map(|keys| outcomes(keys)).collect();
    for reads in Reads::BOTH {
        let run = run_all(&Poll::default().reading(reads), &plans, true, &[Pace::EachCommit]).await;
        println!("interleavings of three transactions, up to steps that commute, read {reads:?}: {run}");
        assert_eq!(run, 900 + 9_900 + 5_600);
    }
}

#[tokio::test]
async fn a_commit_on_a_replica_that_does_not_lead_wakes_the_leader() {
    let stage = Stage::set().await;
    let mut factory = Poll::default();
    (factory.0.poll_interval_ms, factory.0.idle_session_timeout_ms) = (600_000, 1_200_000);
    let leader = stage.start(&factory);
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    let other = outbox();
    let follower = stage.start_with(&factory, &other, None);
    for sequence in 2..=20 {
        commit(stage.pool(), &other, &stage.orders, &["a"]).await;
        other.wake();
        stage.watcher.until_seen(&stage.orders, "a", sequence).await;
    }
    follower.stop().await;
    leader.stop().await;
}

#[tokio::test]
async fn without_any_wake_the_poll_interval_finds_the_rows() {
    let stage = Stage::set().await;
    let relay = stage.start(&Poll::default());
    commit(stage.pool(), &stage.outbox, &stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    relay.stop().await;
}

pub(crate) async fn two_relays_at_once_publish_in_sequence_and_either_can_end() {
    let stage = Stage::set().await;
    let (one, other) = (stage.start(&Poll::default()), stage.start(&Poll::default()));
    for _ in 0..20 {
        stage.commit(&stage.orders, &["a", "b"]).await;
    }
    stage.watcher.until_seen(&stage.orders, "b", 20).await;
    one.stop().await;
    stage.commit(&stage.orders, &["a", "b"]).await;
    stage.watcher.until_seen(&stage.orders, "b", 21).await;
    other.abort().await;
    let third = stage.start(&Poll::default());
    stage.commit(&stage.orders, &["a", "b"]).await;
    stage.watcher.until_seen(&stage.orders, "b", 22).await;
    stage.watcher.assert_in_sequence();
    third.stop().await;
}

pub(crate) async fn a_leader_whose_session_ends_takes_up_again() {
    let stage = Stage::set().await;
    let relay = stage.start(&Poll::default());
    for sequence in 1..=5 {
        stage.commit(&stage.orders, &["a"]).await;
        stage.watcher.until_seen(&stage.orders, "a", sequence).await;
        stage
            .pool()
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE (application_name = 'outbox-relay' OR backend_type = 'walsender')
                     AND datname = current_database()",
            )
            .await
            .unwrap();
    }
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_shutdown_drains_what_was_committed_before() {
    let stage = Stage::set().await;
    let mut factory = Poll::default();
    (factory.0.poll_interval_ms, factory.0.idle_session_timeout_ms) = (600_000, 1_200_000);
    factory.0.shutdown_grace_ms = 25_000;
    let relay = stage.start(&factory);
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    let keys: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    commit(stage.pool(), &stage.outbox, &stage.orders, &keys).await;
    relay.stop().await;
    assert_eq!(stage.unpublished().await, 0);
}

#[tokio::test]
async fn a_sequence_that_caches_ids_is_refused_at_the_start() {
    let stage = Stage::set().await;
    stage.pool().execute("ALTER SEQUENCE outbox.message_ids CACHE 32").await.unwrap();
    let refused = stage.start(&Poll::default()).ended().await;
    assert!(matches!(refused, Err(RelayError::Setup(_))), "{refused:?}");
}

#[tokio::test]
async fn a_database_without_an_outbox_is_refused_at_the_start() {
    let stage = Stage::set().await;
    stage.pool().execute("DROP SCHEMA outbox CASCADE").await.unwrap();
    let refused = stage.start(&Poll::default()).ended().await;
    assert!(matches!(refused, Err(RelayError::Setup(_))), "{refused:?}");
}

#[tokio::test]
async fn an_idle_relay_asks_little_of_the_database() {
    let stage = Stage::set().await;
    let relay = stage.start(&Poll(RelayConfig::default(), Reads::AsItDoes));
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    stage.until_published().await;
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT id FROM outbox.unpublished() WHERE topic = 't' ORDER BY id LIMIT 10",
    )
    .fetch_all(stage.pool())
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("_topic_id_idx")), "{plan:#?}");
    relay.stop().await;
}

#[test]
fn the_configuration_has_defaults_and_refuses_what_it_does_not_know() {
    let config: RelayConfig = toml::from_str("relay = \"poll\"\npoll_interval_ms = 100").unwrap();
    assert_eq!((config.relay, config.poll_interval_ms), (RelayKind::Poll, 100));
    assert_eq!(config.max_in_flight_records, RelayConfig::default().max_in_flight_records);
    assert!(toml::from_str::<RelayConfig>("poll_intervall_ms = 100").is_err());
    assert!(toml::from_str::<RelayConfig>("relay = \"cursor\"").is_err());
}

#[tokio::test]
async fn a_session_time_out_that_would_end_a_healthy_leader_is_refused() {
    let (stage, bus) = Stage::in_memory().await;
    let config = RelayConfig { idle_session_timeout_ms: 600, ..RelayConfig::default() };
    let database = stage.database.database().clone();
    let refused = Relay::try_new(database, &stage.outbox, Arc::new(bus), config);
    assert!(matches!(refused, Err(RelayError::Setup(_))));
}
