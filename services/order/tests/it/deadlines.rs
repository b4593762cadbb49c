//! Deadlines: what hangs is cancelled, and what was paid in time is not.

use std::sync::Arc;
use std::time::Duration;

use contracts::envelope::CONTENT_TYPE;
use contracts::topics::PARTITIONS;
use contracts::{Cause, Envelope, Topic, TraceContext, clock};
use events::{AvroDecoder, topics_of};
use inbox::{Consumer, ConsumerConfig, Parts};
use messaging::{Bus, Record, partition_for_key};
use order::adapters::deadline_worker::{CatchUpBarrier, DeadlineWorker};
use order::config::Config;
use order::domain::OrderId;
use service::{Progress, Worker};
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::events::{payment_completed, subscriptions};
use crate::stack::{Replica, Stack, WAIT_TIMEOUT, expire};

pub(crate) fn worker(stack: &Stack, replica: &Replica, batch: u32) -> DeadlineWorker {
    let config = Config { deadline_poll_interval_ms: 1, deadline_batch_size: batch, ..Config::default() };
    let bus = Arc::clone(&stack.bus) as Arc<dyn Bus>;
    DeadlineWorker::new(replica.store.clone(), bus, stack.codec.topics(), &config)
}

pub(crate) async fn publish(stack: &Stack, event: contracts::AnyEvent) {
    let cause = Cause {
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let record = Record {
        topic: stack.codec.topics().name(event.topic()),
        key: Some(event.key().into_bytes()),
        value: Some(stack.codec.encode(&event).unwrap()),
        headers: Envelope::of(&event, "payment", &cause).to_headers(CONTENT_TYPE),
    };
    stack.bus.producer().await.unwrap().send(record).await.unwrap();
}

/// Runs order's consumer until `shutdown`.
pub(crate) fn consume(stack: &Stack, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
    let subscriptions = subscriptions();
    let consumer = Consumer::new(Parts {
        database: stack.database().clone(),
        bus: Arc::clone(&stack.bus) as Arc<dyn Bus>,
        topics: topics_of(&subscriptions, stack.codec.topics()),
        partitions: PARTITIONS,
        decoder: AvroDecoder::new(Arc::clone(&stack.codec)),
        subscriptions,
        deps: stack.replica.batch_deps(),
        group: "tidings.order".to_owned(),
        config: ConsumerConfig { backoff_initial_ms: 1, backoff_max_ms: 10, ..ConsumerConfig::default() },
        on_commit: Arc::new(|| {}),
    });
    let shutdown = shutdown.clone();
    tasks.spawn(async move { consumer.run(shutdown).await.unwrap() });
}

pub(crate) async fn ended(stack: &Stack, order_id: OrderId) -> (String, Option<String>) {
    eventually("the order has ended", WAIT_TIMEOUT, || async {
        let end = stack.end_of(order_id).await;
        if end.0 == "placed" { Err(end) } else { Ok(end) }
    })
    .await
}

/// So many orders that some lie on the same partition, and some on others.
const SEVERAL: usize = 40;

fn partition_of(order_id: OrderId) -> i32 {
    partition_for_key(order_id.0.to_string().as_bytes(), PARTITIONS)
}

pub(crate) async fn two_of_one_partition(stack: &Stack) -> [OrderId; 2] {
    let orders = stack.place_many(SEVERAL).await;
    let other = orders[1..].iter().find(|order| partition_of(**order) == partition_of(orders[0]));
    [orders[0], *other.unwrap()]
}

pub(crate) fn timed_out() -> (String, Option<String>) {
    ("cancelled".to_owned(), Some("timed_out".to_owned()))
}

#[tokio::test]
async fn what_hangs_is_cancelled_once_its_deadline_has_passed() {
    let stack = Stack::start().await;
    let orders = stack.place_many(25).await;
    let worker = worker(&stack, &stack.replica, 10);
    let mut held = CatchUpBarrier::default();
    assert_eq!(worker.poll_once(&mut held).await.unwrap(), 0, "no deadline has passed yet");
    stack.let_deadlines_pass(&orders[..23]).await;
    assert_eq!(worker.poll_once(&mut held).await.unwrap(), 23, "in batches of ten");
    for order_id in &orders[..23] {
        assert_eq!(stack.end_of(*order_id).await, timed_out());
    }
    assert_eq!(stack.end_of(orders[24]).await.0, "placed");
    assert_eq!(stack.check_invariants().await, 25);
}

#[tokio::test]
async fn orders_that_waited_for_the_broker_are_not_cancelled_when_it_returns() {
    let stack = Stack::start().await;
    let orders = stack.place_many(25).await;
    let worker = worker(&stack, &stack.replica, 10);
    // The broker was away for longer than the deadline: inventory has not heard of them.
    stack.let_unpublished_deadlines_pass(&orders).await;
    assert_eq!(
        worker.poll_once(&mut CatchUpBarrier::default()).await.unwrap(),
        0,
        "nobody has heard of them"
    );
    // It returns: the others have as long as they would have had.
    let grace = chrono::TimeDelta::milliseconds(Config::default().deadline_ms.into());
    stack.publish_before(&orders, grace - chrono::TimeDelta::minutes(1)).await;
    stack.let_unpublished_deadlines_pass(&orders).await;
    assert_eq!(
        worker.poll_once(&mut CatchUpBarrier::default()).await.unwrap(),
        0,
        "they were published just now"
    );
    stack.publish_before(&orders, grace + chrono::TimeDelta::minutes(1)).await;
    stack.let_unpublished_deadlines_pass(&orders).await;
    assert_eq!(worker.poll_once(&mut CatchUpBarrier::default()).await.unwrap(), 25);
    assert_eq!(stack.check_invariants().await, 25);
}

#[tokio::test]
async fn an_order_whose_key_is_blocked_ends_by_its_deadline() {
    let stack = Stack::start().await;
    let [blocked, waiting] = two_of_one_partition(&stack).await;
    sqlx::query(
        "INSERT INTO outbox.blocked_keys (message_id, topic, key, reason, detail)
         SELECT id, topic, key, 'rejected', 'the test says so' FROM outbox.messages WHERE subject = $1",
    )
    .bind(blocked.to_string())
    .execute(stack.pool())
    .await
    .unwrap();
    stack.let_unpublished_deadlines_pass(&[blocked, waiting]).await;
    assert_eq!(
        worker(&stack, &stack.replica, 10).poll_once(&mut CatchUpBarrier::default()).await.unwrap(),
        1
    );
    assert_eq!(stack.end_of(blocked).await, timed_out());
    assert_eq!(stack.end_of(waiting).await.0, "placed");
}

#[tokio::test]
async fn what_is_postponed_meanwhile_is_not_cancelled() {
    let stack = Stack::start().await;
    let [early, late] = two_of_one_partition(&stack).await;
    stack.let_deadlines_pass(&[late]).await;
    stack.let_unpublished_deadlines_pass(&[early]).await;
    // Another replica had read both as due.
    let grace = chrono::TimeDelta::minutes(15);
    assert_eq!(expire(&stack.replica.store, &[early, late], grace).await, 1);
    assert_eq!(stack.end_of(late).await, timed_out());
    assert_eq!(stack.end_of(early).await.0, "placed");
}

#[tokio::test]
async fn what_was_paid_before_an_outage_ended_is_confirmed_and_not_cancelled() {
    let stack = Stack::start().await;
    let [paid, unpaid] = two_of_one_partition(&stack).await;
    // Order's consumers are down; the payment is on its topic when the deadline passes.
    publish(&stack, payment_completed(paid)).await;
    stack.let_deadlines_pass(&[paid, unpaid]).await;
    let worker = worker(&stack, &stack.replica, 10);
    let mut held = CatchUpBarrier::default();
    for _ in 0..5 {
        assert_eq!(worker.poll_once(&mut held).await.unwrap(), 0, "the payment was not heard yet");
    }
    assert_eq!(stack.end_of(unpaid).await.0, "placed");

    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    consume(&stack, &mut tasks, &shutdown);
    assert_eq!(ended(&stack, paid).await, ("confirmed".to_owned(), None));
    // The batch commits its position with its effects: the barrier is passed at once.
    assert_eq!(worker.poll_once(&mut held).await.unwrap(), 1);
    assert_eq!(stack.end_of(unpaid).await, timed_out());
    shutdown.cancel();
    tasks.join_all().await;
    assert_eq!(stack.check_invariants().await, SEVERAL);
}

#[tokio::test]
async fn a_deadline_is_acted_on_though_the_topics_end_with_the_markers_of_transactions() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    consume(&stack, &mut tasks, &shutdown);
    for topic in [Topic::Reservations, Topic::Payments] {
        for partition in 0..PARTITIONS {
            stack.bus.append_control_record(&stack.codec.topics().name(topic), partition).unwrap();
        }
    }
    stack.let_deadlines_pass(&[order_id]).await;
    let (mut worker, stop) = (worker(&stack, &stack.replica, 10), shutdown.clone());
    tasks.spawn(async move { worker.run(Progress::new("deadlines"), stop).await.unwrap() });
    assert_eq!(ended(&stack, order_id).await, timed_out());
    shutdown.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn a_partition_that_can_not_be_read_holds_up_the_deadlines_of_its_own_keys_only() {
    let stack = Stack::start().await;
    let payments = stack.codec.topics().name(Topic::Payments);
    let orders = stack.place_many(SEVERAL).await;
    let waits = |order: &OrderId| partition_of(*order) == 2;
    let (waiting, others): (Vec<OrderId>, Vec<OrderId>) = orders.iter().copied().partition(waits);
    let mut others = others.into_iter();
    let (first, second) = (others.next().unwrap(), others.next().unwrap());
    stack.bus.set_leader(&payments, 2, false);
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    let (mut worker, stop) = (worker(&stack, &stack.replica, 10), shutdown.clone());
    // A partition's failure is no failure of the worker.
    tasks.spawn(async move { worker.run(Progress::new("deadlines"), stop).await.unwrap() });
    stack.let_deadlines_pass(&waiting).await;
    stack.let_deadlines_pass(&[first]).await;
    assert_eq!(ended(&stack, first).await, timed_out());
    stack.let_deadlines_pass(&[second]).await;
    assert_eq!(ended(&stack, second).await, timed_out());
    for order_id in &waiting {
        assert_eq!(stack.end_of(*order_id).await.0, "placed");
    }
    stack.bus.set_leader(&payments, 2, true);
    for order_id in &waiting {
        assert_eq!(ended(&stack, *order_id).await, timed_out());
    }
    shutdown.cancel();
    tasks.join_all().await;
    assert_eq!(stack.check_invariants().await, SEVERAL);
}

#[tokio::test]
async fn deadlines_that_wait_are_no_progress_of_their_worker() {
    let stack = Stack::start().await;
    let order_id = stack.place_many(1).await[0];
    let (payments, partition) = (stack.codec.topics().name(Topic::Payments), partition_of(order_id));
    let progress = Progress::new("deadlines");
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    let (mut worker, theirs, stop) = (worker(&stack, &stack.replica, 10), progress.clone(), shutdown.clone());
    tasks.spawn(async move { worker.run(theirs, stop).await.unwrap() });
    let reports_for_a_while = async || {
        let before = progress.reported();
        tokio::time::sleep(Duration::from_millis(300)).await;
        progress.reported() > before
    };
    eventually("nothing is due, and it says so", WAIT_TIMEOUT, async || {
        if reports_for_a_while().await { Ok(()) } else { Err(()) }
    })
    .await;
    stack.bus.set_leader(&payments, partition, false);
    stack.let_deadlines_pass(&[order_id]).await;
    eventually("a deadline waits, and it says nothing", WAIT_TIMEOUT, async || {
        if reports_for_a_while().await { Err(()) } else { Ok(()) }
    })
    .await;
    stack.bus.set_leader(&payments, partition, true);
    assert_eq!(ended(&stack, order_id).await, timed_out());
    eventually("nothing is due any more, and it says so", WAIT_TIMEOUT, async || {
        if reports_for_a_while().await { Ok(()) } else { Err(()) }
    })
    .await;
    shutdown.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn what_was_paid_on_a_partition_that_can_not_be_read_is_not_cancelled() {
    let stack = Stack::start().await;
    let orders = stack.place_many(SEVERAL).await;
    let (paid, partition) = (orders[0], partition_of(orders[0]));
    let unpaid = *orders.iter().find(|order| partition_of(**order) != partition).unwrap();
    publish(&stack, payment_completed(paid)).await;
    let payments = stack.codec.topics().name(Topic::Payments);
    stack.bus.set_leader(&payments, partition, false);
    stack.let_deadlines_pass(&[paid, unpaid]).await;
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    let (mut worker, stop) = (worker(&stack, &stack.replica, 10), shutdown.clone());
    tasks.spawn(async move { worker.run(Progress::new("deadlines"), stop).await.unwrap() });
    consume(&stack, &mut tasks, &shutdown);
    assert_eq!(ended(&stack, unpaid).await, timed_out());
    assert_eq!(stack.end_of(paid).await.0, "placed");
    stack.bus.set_leader(&payments, partition, true);
    assert_eq!(ended(&stack, paid).await, ("confirmed".to_owned(), None));
    shutdown.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn a_catch_up_barrier_is_not_moved_by_what_arrives_later() {
    let stack = Stack::start().await;
    let [first, later] = two_of_one_partition(&stack).await;
    publish(&stack, payment_completed(later)).await;
    stack.let_deadlines_pass(&[first]).await;
    let worker = worker(&stack, &stack.replica, 10);
    let mut held = CatchUpBarrier::default();
    worker.poll_once(&mut held).await.unwrap();
    let barrier = held.clone();
    // Busy topics never stand still: with end offsets read anew at each poll, lagging consumers would never reach them.
    for _ in 0..3 {
        publish(&stack, payment_completed(later)).await;
        worker.poll_once(&mut held).await.unwrap();
        assert_eq!(held, barrier);
    }
    let positions = |next_offset| {
        let topic = stack.codec.topics().name(Topic::Payments);
        let pool = stack.pool();
        async move {
            sqlx::query(
                "INSERT INTO inbox.consumer_positions (topic, partition, next_offset)
                 SELECT $1, partition, $2 FROM generate_series(0, 5) AS partition
                 ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
            )
            .bind(topic)
            .bind(next_offset)
            .execute(pool)
            .await
            .unwrap();
        }
    };
    positions(0_i64).await;
    assert_eq!(worker.poll_once(&mut held).await.unwrap(), 0);
    positions(1).await;
    assert_eq!(worker.poll_once(&mut held).await.unwrap(), 1, "everything of then was heard");
    assert_eq!(stack.end_of(first).await, timed_out());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_cancel_each_order_once() {
    let stack = Stack::start().await;
    let other = stack.another_replica();
    let orders = stack.place_many(60).await;
    stack.let_deadlines_pass(&orders).await;
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    for replica in [&stack.replica, &other, &stack.replica] {
        let mut worker = worker(&stack, replica, 7);
        let shutdown = shutdown.clone();
        tasks.spawn(async move { worker.run(Progress::new("deadlines"), shutdown).await.unwrap() });
    }
    for order_id in &orders {
        assert_eq!(ended(&stack, *order_id).await, timed_out());
    }
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), tasks.join_all()).await.unwrap();
    assert_eq!(stack.check_invariants().await, 60);
}
