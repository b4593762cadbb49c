//! Which weeks of event ids the inbox forgets: none that a record which is not applied yet may belong to (docs/adr/0019).

use contracts::AnyEvent;
use contracts::clock::{new_id, now};
use contracts::topics::PARTITIONS;
use messaging::partition_for_key;
use sqlx::{Postgres, Transaction};
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Stack, TIMEOUT, confirmed};
use crate::wire::Wire;

const TOPIC: &str = "tidings.orders";

/// A service that remembers seven days, with table partitions that end eight and four weeks ago.
async fn start() -> Stack {
    let mut stack = Stack::start().await;
    stack.deduplication_days = 7;
    let weeks = "DO $$
        DECLARE
            week  text;
            bound uuid := '00000000-0000-0000-0000-000000000000';
            ends  uuid;
        BEGIN
            FOR week IN SELECT inhrelid::regclass FROM pg_inherits
                        WHERE inhparent = 'inbox.events'::regclass AND inhrelid <> 'inbox.events_default'::regclass
            LOOP
                EXECUTE format('DROP TABLE %s', week);
            END LOOP;
            FOR ago IN REVERSE 8..4 BY 4 LOOP
                ends := inbox.min_event_id(now() - make_interval(weeks => ago));
                EXECUTE format('CREATE TABLE inbox.%I PARTITION OF inbox.events FOR VALUES FROM (%L) TO (%L)',
                               'weeks_ago_' || ago, bound, ends);
                bound := ends;
            END LOOP;
            UPDATE inbox.deduplication SET ceiling = bound;
            PERFORM inbox.add_table_partitions(now() + interval '4 weeks');
        END $$";
    sqlx::raw_sql(weeks).execute(stack.database.pool()).await.unwrap();
    stack
}

/// So many weeks end below the floor.
async fn forgotten(stack: &Stack) -> i32 {
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relname LIKE 'weeks_ago_%' AND relkind = 'r'",
    )
    .fetch_all(stack.database.pool())
    .await
    .unwrap();
    match left.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 2,
        ["weeks_ago_4"] => 1,
        _ => 0,
    }
}

/// Waits until something is forgotten: all that is forgotten at one time goes in one transaction.
async fn first_forgotten(stack: &Stack) -> i32 {
    eventually("a week is forgotten", TIMEOUT, async || match forgotten(stack).await {
        0 => Err("none yet"),
        weeks => Ok(weeks),
    })
    .await
}

fn partition_of(order: Uuid) -> i32 {
    partition_for_key(order.to_string().as_bytes(), PARTITIONS)
}

/// An order on this partition, or on another one.
fn order(lies_there: bool, partition: i32) -> Uuid {
    std::iter::repeat_with(new_id).find(|order| (partition_of(*order) == partition) == lies_there).unwrap()
}

/// The same event, as if it had been published five weeks ago.
fn five_weeks_old(event: AnyEvent) -> AnyEvent {
    let AnyEvent::OrderConfirmed(mut event) = event else { unreachable!("the tests confirm orders") };
    let millis = (now() - chrono::TimeDelta::weeks(5)).timestamp_millis().unsigned_abs();
    let random = event.event_id.as_u128() & ((1 << 80) - 1);
    event.event_id = Uuid::from_u128(u128::from(millis) << 80 | random);
    AnyEvent::OrderConfirmed(event)
}

/// The newest records that were applied bear a time some weeks ago.
async fn were_applied(stack: &Stack, partitions: &[i32], weeks_ago: i32) {
    sqlx::query(
        "UPDATE inbox.consumer_positions SET last_record_at = now() - make_interval(weeks => $2)
         WHERE partition = ANY($1) AND last_record_at IS NOT NULL",
    )
    .bind(partitions)
    .bind(weeks_ago)
    .execute(stack.database.pool())
    .await
    .unwrap();
}

/// Keeps consumers from applying anything of the partition.
async fn hold(stack: &Stack, partition: i32) -> Transaction<'static, Postgres> {
    let mut tx = stack.database.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM inbox.consumer_positions WHERE topic = $1 AND partition = $2 FOR UPDATE")
        .bind(TOPIC)
        .bind(partition)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx
}

/// Applies an event of two orders on two partitions, while everything is remembered; gives the orders.
async fn applied(stack: &mut Stack) -> [Uuid; 2] {
    let first = new_id();
    let orders = [first, order(false, partition_of(first))];
    for order in orders {
        stack.publish(&confirmed(order, 1)).await;
    }
    stack.deduplication_days = 0;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    eventually("each partition has its position", TIMEOUT, async || {
        let positions: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox.consumer_positions")
            .fetch_one(stack.database.pool())
            .await
            .unwrap();
        if positions == i64::from(PARTITIONS) { Ok(()) } else { Err(positions) }
    })
    .await;
    stack.stop().await;
    stack.deduplication_days = 7;
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_lags_holds_the_weeks_it_needs() {
    let mut stack = start().await;
    let [late, _] = applied(&mut stack).await;
    were_applied(&stack, &[partition_of(late)], 5).await;
    let old = five_weeks_old(confirmed(late, 2));
    stack.publish(&old).await;
    let held = hold(&stack, partition_of(late)).await;
    stack.consume_as("tidings.ledger");
    assert_eq!(first_forgotten(&stack).await, 1, "the partition goes on five weeks ago");
    held.rollback().await.unwrap();
    stack.caught_up().await;
    assert_eq!(stack.effects(late).await, [1, 2]);
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_end_is_unknown_holds_the_weeks_it_may_need() {
    let mut stack = start().await;
    let [late, _] = applied(&mut stack).await;
    were_applied(&stack, &[partition_of(late)], 5).await;
    stack.bus.set_leader(TOPIC, partition_of(late), false);
    stack.consume_as("tidings.ledger");
    assert_eq!(first_forgotten(&stack).await, 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_partition_at_its_end_holds_none() {
    let mut stack = start().await;
    let [quiet, _] = applied(&mut stack).await;
    were_applied(&stack, &[partition_of(quiet)], 5).await;
    stack.consume_as("tidings.ledger");
    assert_eq!(first_forgotten(&stack).await, 2);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_partition_holds_the_weeks_it_needs() {
    let mut stack = start().await;
    let [stopped, _] = applied(&mut stack).await;
    were_applied(&stack, &[partition_of(stopped)], 5).await;
    sqlx::query(
        "UPDATE inbox.consumer_positions SET stopped_reason = 'another log', stopped_at = now() WHERE partition = $1",
    )
    .bind(partition_of(stopped))
    .execute(stack.database.pool())
    .await
    .unwrap();
    stack.consume_as("tidings.ledger");
    assert_eq!(first_forgotten(&stack).await, 1, "what its log holds is not what its position belongs to");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_forgets_nothing() {
    let mut stack = start().await;
    let orders = applied(&mut stack).await;
    // A clock six weeks ahead of the records shows the same.
    were_applied(&stack, &orders.map(partition_of), 6).await;
    stack.consume_as("tidings.ledger");
    assert_eq!(first_forgotten(&stack).await, 1, "seven days before the newest record");
    stack.stop().await;
}

/// Waits until weeks were made and dropped once.
async fn maintained(recorded: &Recorded) {
    eventually("the weeks were looked after", TIMEOUT, async || {
        recorded.read().sum("inbox_table_partitions_end_timestamp_seconds", &[]).ok_or("not yet")
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_was_never_applied_and_holds_records_keeps_all_weeks() {
    let mut stack = start().await;
    let [first, second] = applied(&mut stack).await;
    let recorded = Recorded::start();
    let taken = [first, second].map(partition_of);
    let late = std::iter::repeat_with(new_id).find(|order| !taken.contains(&partition_of(*order))).unwrap();
    stack.publish(&five_weeks_old(confirmed(late, 1))).await;
    let held = hold(&stack, partition_of(late)).await;
    stack.consume_as("tidings.ledger");
    maintained(&recorded).await;
    assert_eq!(forgotten(&stack).await, 0);
    held.rollback().await.unwrap();
    stack.caught_up().await;
    assert_eq!(stack.effects(late).await, [1]);
    stack.stop().await;
}

#[tokio::test]
async fn a_service_that_has_applied_nothing_forgets_nothing() {
    let recorded = Recorded::start();
    let mut stack = start().await;
    stack.consume_as("tidings.ledger");
    maintained(&recorded).await;
    assert_eq!(forgotten(&stack).await, 0);
    stack.stop().await;
}

/// A repetition of an event is held before each statement of its transaction in turn, while its week is to be dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_week_dropped_under_a_batch_doubles_nothing() {
    let (mut dropped, mut refused) = (0, 0);
    for statement in 1.. {
        let mut stack = start().await;
        stack.deduplication_days = 0;
        let wire = Wire::start(&stack).await;
        stack.consume_through(wire.database(), "tidings.ledger");
        let order = new_id();
        let old = five_weeks_old(confirmed(order, 1));
        stack.publish(&old).await;
        stack.caught_up().await;
        let mut held = wire.hold_before(statement);
        stack.publish(&old).await;
        let is_held = tokio::select! {
            reached = &mut held.reached => reached.is_ok(),
            () = stack.caught_up() => false,
        };
        if is_held {
            let dropping: Result<i32, sqlx::Error> =
                sqlx::query_scalar("SELECT inbox.drop_table_partitions(now() - interval '1 day')")
                    .fetch_one(stack.database.pool())
                    .await;
            match dropping {
                Ok(weeks) => dropped += i32::from(weeks == 2),
                Err(error) => {
                    let code = error
                        .as_database_error()
                        .and_then(sqlx::error::DatabaseError::code)
                        .map(String::from);
                    assert_eq!(code.as_deref(), Some("55P03"), "{error}");
                    refused += 1;
                }
            }
        }
        drop(held);
        stack.caught_up().await;
        assert_eq!(stack.effects(order).await, [1], "before statement {statement}");
        stack.stop().await;
        if !is_held {
            break;
        }
    }
    assert!(
        dropped > 0 && refused > 0,
        "{dropped} times the week was dropped, {refused} times the batch held it"
    );
}
