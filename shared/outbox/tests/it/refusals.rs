//! Records that the broker refuses, for reasons that a person can remove without touching them.

use std::sync::Arc;

use messaging::{Bus, Fault, FaultRule, Refusal};
use testkit::broker::{EmbeddedBroker, RDKafkaRespErr};
use testkit::exposition::Recorded;
use testkit::wait::eventually;

use crate::counting::Counting;
use crate::relays::Poll;
use crate::stage::{Stage, TIMEOUT};
use crate::way::{Events, Through, Way, keys_of};

fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

fn all(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

/// Whether a record's key begins like this.
fn begins(prefix: &'static str) -> impl Fn(&messaging::Record) -> bool + Send + Sync {
    move |record| record.key.as_deref().is_some_and(|key| key.starts_with(prefix.as_bytes()))
}

/// Tries what was refused again soon.
fn impatient() -> Poll {
    let mut factory = Poll::default();
    (factory.0.refused_retry_ms, factory.0.refused_retry_max_ms) = (200, 400);
    factory
}

pub(crate) async fn a_refused_key_goes_on_by_itself_once_its_record_is_taken() {
    let (stage, bus) = Stage::in_memory().await;
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Timestamp), begins("bad")));
    for _ in 0..3 {
        stage.commit(&stage.orders, &["bad", "good"]).await;
    }
    let relay = stage.start(&impatient());
    assert_eq!(stage.until_blocked(&stage.orders, "bad").await, "rejected");
    stage.watcher.until_seen(&stage.orders, "good", 3).await;
    // Its row stays, with the number of attempts and the time of the next one.
    let (attempts, in_time): (i32, bool) = eventually("it is tried again", TIMEOUT, async || {
        let row: (i32, bool) = sqlx::query_as(
            "SELECT attempts, retry_at - clock_timestamp() BETWEEN '-30 s' AND '1 s' FROM outbox.blocked_keys",
        )
        .fetch_one(stage.pool())
        .await
        .unwrap();
        if row.0 >= 3 { Ok(row) } else { Err(row) }
    })
    .await;
    assert!(in_time, "after {attempts} attempts");
    assert_eq!(stage.watcher.sequences(&stage.orders, "bad"), Vec::<i64>::new());

    bus.heal();
    stage.watcher.until_seen(&stage.orders, "bad", 3).await;
    stage.until_published().await;
    assert_eq!(stage.blocked().await, 0);
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_refused_key_is_tried_again_by_the_next_leader_too() {
    let (stage, bus) = Stage::in_memory().await;
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Timestamp), begins("bad")));
    stage.commit(&stage.orders, &["bad"]).await;
    let relay = stage.start(&impatient());
    stage.until_blocked(&stage.orders, "bad").await;
    relay.stop().await;
    bus.heal();
    let relay = stage.start(&impatient());
    stage.watcher.until_seen(&stage.orders, "bad", 1).await;
    stage.until_published().await;
    assert_eq!(stage.blocked().await, 0);
    relay.stop().await;
}

pub(crate) async fn a_topic_that_refuses_everything_is_left_alone_as_one_and_goes_on_by_itself() {
    let recorded = Recorded::start();
    let refused = || recorded.sum("outbox_refused_topics", &[("topic", "orders")]);
    let becomes = async |expected: f64| {
        eventually("the gauge of refused topics changes", TIMEOUT, async || match refused() {
            found if (found - expected).abs() < f64::EPSILON => Ok(()),
            found => Err(found),
        })
        .await;
    };
    let (stage, bus) = Stage::in_memory().await;
    let orders = stage.orders.clone();
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Timestamp), move |record| record.topic == orders));
    let keys = keys("order", 26);
    for _ in 0..2 {
        stage.commit(&stage.orders, &all(&keys)).await;
    }
    let mut factory = Poll::default();
    factory.0.refused_retry_ms = 600_000;
    factory.0.refused_retry_max_ms = 600_000;
    let relay = stage.start(&factory);
    becomes(1.0).await;
    // Other topics are published meanwhile.
    stage.commit(&stage.stock, &["sku"]).await;
    stage.watcher.until_seen(&stage.stock, "sku", 1).await;
    assert!(stage.blocked().await <= 3, "{} keys are blocked", stage.blocked().await);

    bus.heal();
    becomes(0.0).await;
    // Those that were blocked need not wait for their time.
    stage.until_published().await;
    assert_eq!(stage.blocked().await, 0);
    for key in &keys {
        stage.watcher.until_seen(&stage.orders, key, 2).await;
    }
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn many_bad_records_in_succession_do_not_stop_their_topic() {
    let (stage, bus) = Stage::in_memory().await;
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Timestamp), begins("bad")));
    stage.commit(&stage.orders, &all(&keys("bad", 12))).await;
    let relay = stage.start(&Poll::default());
    for n in 0..12 {
        let good = format!("good-{n}");
        stage.commit(&stage.orders, &[&good]).await;
        stage.watcher.until_seen(&stage.orders, &good, 1).await;
    }
    eventually("each bad key is blocked", TIMEOUT, async || match stage.blocked().await {
        12 => Ok(()),
        blocked => {
            stage.commit(&stage.orders, &["good"]).await;
            Err(blocked)
        }
    })
    .await;
    relay.stop().await;
}

pub(crate) async fn a_record_tried_in_a_partition_without_an_answer_holds_up_no_other() {
    let recorded = Recorded::start();
    let (mut stage, bus) = Stage::in_memory().await;
    let way = Way::new("relay", Arc::clone(&stage.bus), &Events::default());
    stage.bus = Arc::new(Through(Arc::clone(&way)));
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Timestamp), |_| true));
    let refused = keys_of(&[1, 1, 2, 2, 3, 3, 4, 4]);
    stage.commit(&stage.orders, &all(&refused)).await;
    let relay = stage.start(&Poll::default());
    eventually("the topic refuses everything", TIMEOUT, async || {
        let found = recorded.sum("outbox_refused_topics", &[("topic", "orders")]);
        if found > 0.0 { Ok(()) } else { Err(found) }
    })
    .await;

    // A row that was never refused is tried first: this one.
    way.cut(&[0]);
    stage.commit(&stage.orders, &all(&keys_of(&[0]))).await;
    eventually("it is with the broker", TIMEOUT, async || match way.lingering() {
        1 => Ok(()),
        sent => Err(sent),
    })
    .await;
    bus.heal();
    let good = keys_of(&[5]);
    stage.commit(&stage.orders, &all(&good)).await;
    stage.watcher.until_seen(&stage.orders, &good[0], 1).await;
    stage.until_unpublished(1).await;

    way.open();
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_refused_record_costs_no_producer() {
    let broker = EmbeddedBroker::start().unwrap();
    let mut stage = Stage::embedded(&broker).await;
    let bus = Counting::on(Arc::clone(&stage.bus));
    stage.bus = Arc::clone(&bus) as Arc<dyn Bus>;
    let relay = stage.start(&impatient());
    stage.commit(&stage.orders, &["first"]).await;
    stage.watcher.until_seen(&stage.orders, "first", 1).await;

    let keys = keys("order", 26);
    broker.fail_produce(vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP; 12]).unwrap();
    for _ in 0..2 {
        stage.commit(&stage.orders, &all(&keys)).await;
    }
    stage.until_published().await;
    assert_eq!(stage.blocked().await, 0);
    for key in &keys {
        stage.watcher.until_seen(&stage.orders, key, 2).await;
    }
    stage.watcher.assert_in_sequence();
    assert_eq!(bus.producers(), 1);
    relay.stop().await;
}
