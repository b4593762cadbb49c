//! Partitions of a member are applied together, and no partition does harm to another (docs/adr/0015).

use std::sync::Arc;
use std::time::Duration;

use contracts::clock::new_id;
use database::{Bounds, Database};
use messaging::Record;
use sqlx::postgres::PgSslMode;
use testkit::exposition::Recorded;
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use tokio::time::Instant;
use uuid::Uuid;

use crate::held::{ALL, GROUP, confirmations};
use crate::ledger::{Faults, REGIONS};
use crate::stack::{Stack, TIMEOUT, cancelled, confirmed, stopped};
use crate::wire::Wire;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_partitions_have_is_applied_in_one_transaction() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    let orders = stack.hold(&ALL, confirmations).await;
    stack.release();
    stack.caught_up().await;
    assert_eq!(stack.transactions(&orders).await, 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_has_no_more_records_than_the_bound_and_no_partition_is_left_out() {
    let mut stack = Stack::start().await;
    stack.max_batch_records = 4;
    stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    stack.begin_alone().await;
    for sequence in 2..=6 {
        for order in &orders {
            stack.publish(&confirmed(*order, sequence)).await;
        }
    }
    stack.release();
    stack.caught_up().await;
    stack.until_effects(&orders, &[1, 2, 3, 4, 5, 6]).await;
    let largest: i64 = sqlx::query_scalar(
        "SELECT max(events) FROM (SELECT count(*) AS events FROM inbox.events GROUP BY xmin::text) AS transactions",
    )
    .fetch_one(stack.database.pool())
    .await
    .unwrap();
    assert!(largest <= 4, "{largest} events in a transaction");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_two_partitions_of_a_joint_batch_takes_effect_once() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    let orders = stack
        .hold_records(&[1, 2], |orders| {
            let twice = stack.record(&confirmed(orders[1], 2));
            // What is behind it on its partition shows that the second one was in the transaction.
            vec![(2, twice.clone()), (2, stack.record(&confirmed(orders[2], 2))), (1, twice)]
        })
        .await;
    stack.release();
    stack.caught_up().await;
    stack.until_effects(&orders[1..3], &[2]).await;
    assert_eq!(stack.transactions(&orders[1..3]).await, 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_back_its_key_on_all_partitions_of_a_joint_batch() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    let orders = stack
        .hold_records(&[1, 2], |orders| {
            let malformed = Record { value: Some(vec![1, 2, 3]), ..stack.record(&confirmed(orders[1], 1)) };
            let [behind, first, second] =
                [orders[1], orders[0], orders[2]].map(|order| stack.record(&confirmed(order, 2)));
            vec![(2, behind), (2, second), (1, malformed), (1, first)]
        })
        .await;
    stack.release();
    stack.caught_up().await;
    assert!(stack.effects(orders[1]).await.is_empty());
    stack.until_effects(&[orders[0], orders[2]], &[2]).await;
    let letters = stack.dead_letters().await;
    assert!(letters.iter().any(|(_, reason)| reason == "behind_dead_letter"), "{letters:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_position_leaves_the_joint_batch_and_the_others_commit() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    stack.begin_alone().await;
    // The new owner of partition 1 has applied what comes.
    stack
        .change_position(
            "UPDATE inbox.consumer_positions SET next_offset = next_offset + 1 WHERE partition = 1",
        )
        .await;
    let before = stack.loads().len();
    for event in confirmations(&orders[1..]) {
        stack.publish(&event).await;
    }
    stack.release();
    stack.caught_up().await;
    stack.until_effects(&orders[2..], &[1, 2]).await;
    assert_eq!(stack.effects(orders[1]).await, [1]);
    assert!(stack.loads()[before..].iter().all(|load| !load.contains(&1)));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_another_log_is_never_applied() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    // A rebase, at the same offset: what is read from now on is of the former log until the position is read again.
    stack.change_position("UPDATE inbox.consumer_positions SET log = log + 1 WHERE partition = 1").await;
    for event in confirmations(&orders) {
        stack.publish(&event).await;
    }
    stack.caught_up().await;
    let logs: Vec<(i32, i32)> = sqlx::query_as(
        r#"SELECT DISTINCT partition, log FROM inbox.events WHERE "offset" > 0 ORDER BY partition"#,
    )
    .fetch_all(stack.database.pool())
    .await
    .unwrap();
    assert_eq!(logs, [(0, 1), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_another_member_has_stopped_is_applied_no_further() {
    let mut stack = Stack::start().await;
    let status = stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    stack
        .change_position(
            "UPDATE inbox.consumer_positions SET stopped_reason = 'another log', stopped_at = now() WHERE partition = 1",
        )
        .await;
    for event in confirmations(&orders) {
        stack.publish(&event).await;
    }
    assert_eq!(stopped(&status).await, "another log");
    stack.until_effects(&orders[2..], &[1, 2]).await;
    assert_eq!(stack.effects(orders[1]).await, [1]);
    stack.stop().await;
}

#[tokio::test]
async fn a_locked_position_keeps_out_its_partition_alone() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    stack.begin_alone().await;
    let mut owner = stack.database.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM inbox.consumer_positions WHERE partition = 1 FOR UPDATE")
        .execute(&mut *owner)
        .await
        .unwrap();
    let locked_since = Instant::now();
    for event in confirmations(&orders[1..]) {
        stack.publish(&event).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    stack.release();
    stack.until_effects(&orders[2..], &[1, 2]).await;
    assert_eq!(stack.effects(orders[1]).await, [1]);
    // Its own transaction waits for four seconds; no other one fails.
    let failed = recorded.read().sum("inbox_retries_total", &[]).unwrap_or_default();
    assert!(failed <= (locked_since.elapsed().as_secs_f64() / 4.0).floor(), "{failed} failures");
    owner.rollback().await.unwrap();
    stack.until_effects(&orders[1..], &[1, 2]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_member_commits_nothing_of_its_joint_batch_and_delays_the_new_owner_within_a_bound() {
    let mut stack = Stack::start().await;
    let server = stack.database.database().options();
    let proxy = Proxy::start(format!("{}:{}", server.get_host(), server.get_port())).await.unwrap();
    let options = server.clone().host("127.0.0.1").port(proxy.address().port()).ssl_mode(PgSslMode::Disable);
    let bounds = Bounds { work: Duration::from_secs(12), request: Duration::from_secs(6) };
    stack.consume_through(Database::new(options, 10, bounds), GROUP);
    stack.until_joined().await;
    let orders = stack.hold(&ALL, confirmations).await;
    // The server holds its locks, and hears nothing of it any more.
    proxy.silence_all();
    let frozen = std::mem::replace(&mut stack.faults, Arc::new(Faults::none()));
    stack.consume_as("tidings.ledger-new-owner");
    let waits_since = Instant::now();
    stack.until_effects(&orders, &[2]).await;
    assert!(waits_since.elapsed() < Duration::from_secs(18), "{:?}", waits_since.elapsed());
    proxy.serve();
    frozen.gate.add_permits(10_000);
    let more = confirmations(&orders);
    for event in &more {
        stack.publish(event).await;
    }
    stack.until_effects(&orders, &[2, 2]).await;
    stack.stop().await;
    stack.until_effects(&orders, &[2, 2]).await;
}

#[tokio::test]
async fn joint_batches_of_two_members_over_the_same_rows_never_deadlock() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    let members = [stack.consume_as(GROUP), stack.consume_as(GROUP)];
    eventually("the members share the partitions", TIMEOUT, async || {
        let counts = members.each_ref().map(|status| status.partitions().len());
        if counts == [3, 3] { Ok(()) } else { Err(counts) }
    })
    .await;
    stack.until_joined().await;
    let retried = recorded.read().sum("inbox_retries_total", &[]).unwrap_or_default();
    for _ in 0..300 {
        stack.publish(&cancelled(new_id(), 1, REGIONS)).await;
    }
    stack.caught_up().await;
    let counted: i64 = sqlx::query_scalar("SELECT sum(events)::bigint FROM regions")
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
    assert_eq!(counted, 600);
    let loads = stack.loads();
    assert!(loads.iter().any(|load| load.len() > 1), "no joint batch");
    let failed = recorded.read().sum("inbox_retries_total", &[]).unwrap_or_default() - retried;
    assert!(failed < 0.5, "{failed} transactions failed");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_withdraws_its_offer_and_is_applied_once_when_it_comes_back() {
    let mut stack = Stack::start().await;
    let first = stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    stack.begin_alone().await;
    for event in confirmations(&orders[1..]) {
        stack.publish(&event).await;
    }
    let held = std::mem::replace(&mut stack.faults, Arc::new(Faults::none()));
    let second = stack.consumer(stack.database.another(), GROUP);
    let (status, stop) = (second.status(), tokio_util::sync::CancellationToken::new());
    let mut running = tokio::task::JoinSet::new();
    let shutdown = stop.clone();
    running.spawn(async move { second.run(shutdown).await.unwrap() });
    // Its transaction is still open, and has only what it has taken.
    let moved = eventually("the workers of revoked partitions have ended", TIMEOUT, async || {
        let (mine, theirs) = (first.partitions(), status.partitions());
        let (both, moved): (Vec<_>, Vec<_>) =
            theirs.into_keys().filter(|id| id.partition != 0).partition(|id| mine.contains_key(id));
        let moved: Vec<i32> = moved.into_iter().map(|id| id.partition).collect();
        if both.is_empty() && moved.len() >= 2 { Ok(moved) } else { Err((both, moved)) }
    })
    .await;
    let theirs: Vec<Uuid> = ALL
        .into_iter()
        .zip(&orders)
        .filter(|(index, _)| moved.contains(index))
        .map(|(_, order)| *order)
        .collect();
    stack.until_effects(&theirs, &[1, 2]).await;
    held.gate.add_permits(10_000);
    stack.caught_up().await;
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    for event in confirmations(&orders[1..]) {
        stack.publish(&event).await;
    }
    stack.caught_up().await;
    stack.until_effects(&orders[1..], &[1, 2, 2]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_what_is_taken_and_withdraws_what_is_offered() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    let taken = stack.begin_alone().await;
    for event in confirmations(&orders[1..]) {
        stack.publish(&event).await;
    }
    stack.shutdown.cancel();
    stack.faults.gate.add_permits(1);
    stack.stop().await;
    assert_eq!(stack.effects(taken).await, [1]);
    stack.until_effects(&orders, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joint_batch_takes_as_many_statements_as_any_other() {
    let mut stack = Stack::start().await;
    let wire = Wire::start(&stack).await;
    stack.consume_through(wire.database(), GROUP);
    stack.until_joined().await;
    // Without the three of the ledger. Others than a batch's are shorter.
    let generic = |from: usize| wire.transactions()[from..].iter().max().unwrap() - 3;
    let before = wire.transactions().len();
    stack.begin_alone().await;
    stack.release();
    stack.caught_up().await;
    // BEGIN, positions, ids, floor with keys of dead letters, positions, COMMIT.
    assert_eq!(generic(before), 6);
    let before = wire.transactions().len();
    stack.hold(&ALL, confirmations).await;
    stack.release();
    stack.caught_up().await;
    assert_eq!(generic(before), 6);
    stack.stop().await;
}
