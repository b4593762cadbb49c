//! One partition of a topic that takes nothing, and what its rows do to those of the others: nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use messaging::{Bus, Fault, FaultRule, Record, partition_for_key};
use testkit::broker::EmbeddedBroker;
use testkit::exposition::Recorded;
use testkit::wait::eventually;

use crate::counting::Counting;
use crate::relays::Poll;
use crate::stage::{Stage, TIMEOUT, append, message};
use crate::way::{Events, Through, Way};

const PARTITIONS: i32 = 6;
/// The partition that takes nothing.
const DEAD: i32 = 0;
const ROWS_PER_KEY: i64 = 3;

/// So many keys of the partition that takes nothing, or of the others.
fn keys(count: usize, dead: bool) -> Vec<String> {
    let keys = (0..).map(|n| format!("key-{n}"));
    keys.filter(|key| (partition_for_key(key.as_bytes(), PARTITIONS) == DEAD) == dead).take(count).collect()
}

/// Appends three messages of each key.
async fn append_all(stage: &Stage, keys: &[String]) {
    let mut conn = stage.pool().acquire().await.unwrap();
    for some in keys.chunks(1_000) {
        let of =
            |key: &String| (1..=ROWS_PER_KEY).map(|n| message(&stage.orders, key, n)).collect::<Vec<_>>();
        append(&mut conn, &stage.outbox, some.iter().flat_map(of).collect()).await.unwrap();
    }
}

/// Waits until every row of these keys is published.
async fn until_keys_published(stage: &Stage, keys: &[String]) {
    eventually("the keys' messages are published", TIMEOUT, async || {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM outbox.unpublished() WHERE subject = ANY($1)")
                .bind(keys)
                .fetch_one(stage.pool())
                .await
                .unwrap();
        if waiting == 0 { Ok(()) } else { Err(waiting) }
    })
    .await;
}

fn rows(keys: &[String]) -> i64 {
    i64::try_from(keys.len()).unwrap() * ROWS_PER_KEY
}

pub(crate) async fn the_rows_of_a_partition_without_a_leader_hold_up_no_others() {
    let broker = EmbeddedBroker::start().unwrap();
    let stage = Stage::embedded(&broker).await;
    broker.set_leader(&stage.orders, DEAD, false).unwrap();
    let (dead, others) = (keys(1_500, true), keys(20, false));
    append_all(&stage, &dead).await;
    append_all(&stage, &others).await;
    let relay = stage.start(&Poll::default());
    until_keys_published(&stage, &others).await;
    assert_eq!(stage.unpublished().await, rows(&dead));

    broker.set_leader(&stage.orders, DEAD, true).unwrap();
    stage.until_published().await;
    for key in dead.iter().chain(&others) {
        stage.watcher.until_seen(&stage.orders, key, ROWS_PER_KEY).await;
    }
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn more_rows_than_a_read_brings_of_a_partition_without_a_leader_hide_no_others() {
    let broker = EmbeddedBroker::start().unwrap();
    let stage = Stage::embedded(&broker).await;
    broker.set_leader(&stage.orders, DEAD, false).unwrap();
    let (dead, others) = (keys(10_000, true), keys(41, false));
    let (late, others) = others.split_first().unwrap();
    let (before, after) = others.split_at(20);
    append_all(&stage, &dead[..5_000]).await;
    // Its id lies in the middle; it is committed last.
    let mut open = stage.pool().begin().await.unwrap();
    append(&mut open, &stage.outbox, vec![message(&stage.orders, late, 1)]).await.unwrap();
    append_all(&stage, &dead[5_000..]).await;
    append_all(&stage, before).await;
    let relay = stage.start(&Poll::default());
    until_keys_published(&stage, before).await;
    append_all(&stage, after).await;
    stage.outbox.wake();
    until_keys_published(&stage, after).await;
    open.commit().await.unwrap();
    until_keys_published(&stage, std::slice::from_ref(late)).await;
    assert_eq!(stage.unpublished().await, rows(&dead));
    assert_eq!(stage.blocked().await, 0);
    relay.stop().await;
}

pub(crate) async fn a_partition_without_a_leader_replaces_no_producer_and_is_reported() {
    let recorded = Recorded::start();
    let broker = EmbeddedBroker::start().unwrap();
    let mut stage = Stage::embedded(&broker).await;
    let bus = Counting::on(Arc::clone(&stage.bus));
    stage.bus = Arc::clone(&bus) as Arc<dyn Bus>;
    broker.set_leader(&stage.orders, DEAD, false).unwrap();
    let mut factory = Poll::default();
    factory.0.delivery_timeout_ms = 2_000;
    let relay = stage.start(&factory);
    let others = keys(2, false);
    append_all(&stage, &others[..1]).await;
    until_keys_published(&stage, &others).await;

    append_all(&stage, &keys(5, true)).await;
    let began = Instant::now();
    // Nothing else is in flight meanwhile, so that there are no other answers.
    eventually("three time-outs have passed", TIMEOUT, async || {
        if began.elapsed() > Duration::from_secs(6) { Ok(()) } else { Err(began.elapsed()) }
    })
    .await;
    append_all(&stage, &others[1..]).await;
    stage.outbox.wake();
    until_keys_published(&stage, &others).await;
    assert_eq!(bus.producers(), 1);

    let stalled = || recorded.sum("outbox_stalled_partitions", &[("topic", "orders")]);
    let is = async |expected: f64| {
        eventually("the stalled partitions are measured", TIMEOUT, async || match stalled() {
            found if (found - expected).abs() < f64::EPSILON => Ok(()),
            found => Err(found),
        })
        .await;
    };
    is(1.0).await;
    broker.set_leader(&stage.orders, DEAD, true).unwrap();
    stage.until_published().await;
    is(0.0).await;
    assert_eq!(bus.producers(), 1);
    relay.stop().await;
}

pub(crate) async fn records_of_one_partition_that_are_not_acknowledged_leave_the_others_their_producer() {
    let (mut stage, in_memory) = Stage::in_memory().await;
    let bus = Counting::on(Arc::clone(&stage.bus));
    stage.bus = Arc::clone(&bus) as Arc<dyn Bus>;
    let relay = stage.start(&Poll::default());
    let (dead, others) = (keys(20, true), keys(30, false));
    let (first, others) = others.split_first().unwrap();
    stage.commit(&stage.orders, &[first]).await;
    stage.watcher.until_seen(&stage.orders, first, 1).await;

    let in_dead = |record: &Record| partition_for_key(record.key.as_deref().unwrap(), PARTITIONS) == DEAD;
    in_memory.inject(FaultRule::always(Fault::TimeOut, in_dead));
    append_all(&stage, &dead).await;
    for key in others {
        stage.commit(&stage.orders, &[key]).await;
        stage.watcher.until_seen(&stage.orders, key, 1).await;
    }
    assert_eq!(bus.producers(), 1);

    in_memory.heal();
    stage.until_published().await;
    for key in &dead {
        stage.watcher.until_seen(&stage.orders, key, ROWS_PER_KEY).await;
    }
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_look_for_leaders_without_an_answer_holds_up_no_other_partition() {
    let (mut stage, _bus) = Stage::in_memory().await;
    let way = Way::new("relay", Arc::clone(&stage.bus), &Events::default());
    stage.bus = Arc::new(Through(Arc::clone(&way)));
    let mut factory = Poll::default();
    factory.0.delivery_timeout_ms = 300;
    let relay = stage.start(&factory);
    let (dead, others) = (keys(5, true), keys(8, false));
    let (first, others) = others.split_first().unwrap();
    stage.commit(&stage.orders, &[first]).await;
    stage.watcher.until_seen(&stage.orders, first, 1).await;

    way.cut(&[DEAD]);
    way.tell_no_names();
    append_all(&stage, &dead).await;
    stage.outbox.wake();
    let looks = way.rounds();
    for key in others {
        // Nothing else is in flight, so that the publisher looks; it goes on as if there were a leader.
        eventually("the publisher looks for leaders", TIMEOUT, async || match way.rounds() - looks {
            0 => Err("not yet"),
            _ => Ok(()),
        })
        .await;
        stage.commit(&stage.orders, &[key]).await;
        stage.watcher.until_seen(&stage.orders, key, 1).await;
    }
    way.open();
    stage.until_published().await;
    for key in &dead {
        stage.watcher.until_seen(&stage.orders, key, ROWS_PER_KEY).await;
    }
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn messages_without_a_key_go_to_partitions_that_take_them() {
    let broker = EmbeddedBroker::start().unwrap();
    let stage = Stage::embedded(&broker).await;
    broker.set_leader(&stage.orders, DEAD, false).unwrap();
    let dead = keys(1_000, true);
    append_all(&stage, &dead).await;
    let relay = stage.start(&Poll::default());
    append_all(&stage, &keys(1, false)).await;
    until_keys_published(&stage, &keys(1, false)).await;

    // A random partition would be the one without a leader every now and then.
    for _ in 0..10 {
        sqlx::query(
            "INSERT INTO outbox.messages (id, topic, value)
             SELECT nextval('outbox.message_ids'), $1, 'x' FROM generate_series(1, 200)",
        )
        .bind(&stage.orders)
        .execute(stage.pool())
        .await
        .unwrap();
        stage.outbox.wake();
        stage.until_unpublished(rows(&dead)).await;
    }
    relay.stop().await;
}
