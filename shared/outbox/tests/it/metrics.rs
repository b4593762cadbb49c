//! The outbox's metrics and states are true.

use std::sync::Arc;

use outbox::{Backlog, RelayConfig, RelayState, RelayStatus};
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::relays::{Poll, Reads};
use crate::stage::{Stage, TIMEOUT};

/// Lets rows of this key have been committed so long ago.
async fn backdate(stage: &Stage, key: &str, seconds: f64) {
    sqlx::query("UPDATE outbox.messages SET created_at = clock_timestamp() - make_interval(secs => $2) WHERE subject = $1")
        .bind(key)
        .bind(seconds)
        .execute(stage.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_oldest_age_is_of_the_oldest_unpublished_message_on_any_topic_that_no_blocked_key_holds() {
    let (stage, _bus) = Stage::in_memory().await;
    let empty = Backlog { unpublished: 0, oldest_age_s: 0.0, blocked_keys: 0 };
    assert_eq!(stage.backlog().await.unwrap(), empty);

    stage.commit(&stage.orders, &["finished", "old", "new"]).await;
    stage.commit(&stage.stock, &["older"]).await;
    for (key, age_s) in [("finished", 5_000.0), ("old", 100.0), ("older", 500.0)] {
        backdate(&stage, key, age_s).await;
    }
    sqlx::query("UPDATE outbox.messages SET finished_at = clock_timestamp() WHERE subject = 'finished'")
        .execute(stage.pool())
        .await
        .unwrap();
    let backlog = stage.backlog().await.unwrap();
    assert_eq!((backlog.unpublished, backlog.blocked_keys), (3, 0));
    assert!((500.0..600.0).contains(&backlog.oldest_age_s), "{backlog:?}");

    sqlx::query(
        "INSERT INTO outbox.blocked_keys (message_id, topic, key, reason, detail)
         SELECT id, topic, key, 'rejected', 'the test says so' FROM outbox.messages WHERE subject = 'older'",
    )
    .execute(stage.pool())
    .await
    .unwrap();
    let backlog = stage.backlog().await.unwrap();
    assert_eq!((backlog.unpublished, backlog.blocked_keys), (3, 1));
    assert!((100.0..200.0).contains(&backlog.oldest_age_s), "{backlog:?}");

    let recorded = Recorded::start();
    backlog.show();
    assert!((recorded.sum("outbox_unpublished_messages", &[]) - 3.0).abs() < f64::EPSILON);
    assert!((recorded.sum("outbox_blocked_keys", &[]) - 1.0).abs() < f64::EPSILON);
    assert!(recorded.sum("outbox_oldest_unpublished_age_seconds", &[]) >= 100.0);
}

#[tokio::test]
async fn publish_latency_runs_from_the_insertion_to_the_acknowledgement() {
    let recorded = Recorded::start();
    let (stage, _bus) = Stage::in_memory().await;
    stage.commit(&stage.orders, &["a", "b"]).await;
    backdate(&stage, "a", 1_000.0).await;
    let relay = stage.start(&Poll::default());
    stage.until_published().await;
    relay.stop().await;
    let topic = [("topic", "orders")];
    let count = recorded.sum("outbox_publish_latency_seconds_count", &topic);
    let sum = recorded.sum("outbox_publish_latency_seconds_sum", &topic);
    assert!((count - 2.0).abs() < f64::EPSILON, "{count}");
    assert!((1_000.0..1_100.0).contains(&sum), "{sum}");
    assert!((recorded.sum("outbox_messages_published_total", &topic) - 2.0).abs() < f64::EPSILON);
}

struct Replica {
    status: RelayStatus,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

impl Replica {
    fn start(stage: &Stage, config: RelayConfig) -> Self {
        let database = stage.database.another();
        let relay =
            Poll(config, Reads::AsItDoes).relay(&database, &stage.outbox, Arc::clone(&stage.bus), None);
        let (status, shutdown) = (relay.status(), CancellationToken::new());
        let mut task = JoinSet::new();
        let stop = shutdown.clone();
        task.spawn(async move { relay.run(stop).await.unwrap() });
        Self { status, shutdown, task }
    }

    async fn becomes(&self, wanted: RelayState) {
        eventually("the relay's state changes", TIMEOUT, async || match self.status.state() {
            state if state == wanted => Ok(()),
            state => Err(state),
        })
        .await;
    }

    async fn stop(mut self) -> RelayState {
        self.shutdown.cancel();
        self.task.join_next().await.unwrap().unwrap();
        self.status.state()
    }
}

#[tokio::test]
async fn a_relay_says_that_it_leads_that_it_stands_by_and_that_it_took_over() {
    let recorded = Recorded::start();
    let active = || recorded.sum("outbox_relay_leader", &[]);
    let (stage, _bus) = Stage::in_memory().await;
    let config = Poll::default().0;
    let first = Replica::start(&stage, config.clone());
    first.becomes(RelayState::Leading).await;
    assert!((active() - 1.0).abs() < f64::EPSILON);
    let second = Replica::start(&stage, config);
    second.becomes(RelayState::StandingBy).await;
    assert_eq!(first.status.state(), RelayState::Leading);
    assert_eq!(first.stop().await, RelayState::Stopped);
    second.becomes(RelayState::Leading).await;
    assert!((active() - 1.0).abs() < f64::EPSILON);
    assert_eq!(second.stop().await, RelayState::Stopped);
    assert!(active().abs() < f64::EPSILON);
}
