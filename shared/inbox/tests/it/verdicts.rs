//! The cause when the database refuses: the event, an operator, or one not known yet.

use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use inbox::PartitionState;
use messaging::partition_for_key;
use sqlx::AssertSqlSafe;
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Stack, TIMEOUT, confirmed};

/// Writes to this table fail with this SQLSTATE where the row's text contains this.
async fn refuse(stack: &Stack, table: &str, code: &str, contains: &str) {
    let trigger = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF new::text LIKE '%{contains}%' THEN
                 RAISE EXCEPTION 'the test asks for it' USING ERRCODE = '{code}';
             END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
    );
    sqlx::raw_sql(AssertSqlSafe(trigger)).execute(stack.database.pool()).await.unwrap();
}

async fn allow(stack: &Stack, table: &str) {
    let trigger = format!("DROP TRIGGER refuse ON {table}");
    sqlx::raw_sql(AssertSqlSafe(trigger)).execute(stack.database.pool()).await.unwrap();
}

/// So many orders whose keys lie on partition 0.
fn on_one_partition(orders: usize) -> Vec<Uuid> {
    let lies_there = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS) == 0;
    std::iter::repeat_with(new_id).filter(lies_there).take(orders).collect()
}

async fn publish(stack: &Stack, orders: &[Uuid]) {
    for order in orders {
        stack.publish(&confirmed(*order, 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_no_known_kind_is_a_dead_letter_after_some_tries() {
    let mut stack = Stack::start().await;
    let orders: Vec<_> = (0..12).map(|_| new_id()).collect();
    refuse(&stack, "ledger", "P0001", &orders[5].to_string()).await;
    publish(&stack, &orders).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    for order in orders.iter().filter(|order| **order != orders[5]) {
        assert_eq!(stack.effects(*order).await, [1]);
    }
    let letters = stack.listed().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].key, Some(orders[5].to_string()));
    assert_eq!(letters[0].reason, "unexpected_error");
    assert!(letters[0].detail.contains("P0001"), "{}", letters[0].detail);
    allow(&stack, "ledger").await;
    assert_eq!(stack.redrive_oldest().await.applied, 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_can_fix_blames_no_event() {
    let mut stack = Stack::start().await;
    for code in ["42501", "0A000", "3F000", "42P01", "55006"] {
        let order = new_id();
        refuse(&stack, "ledger", code, &order.to_string()).await;
        publish(&stack, &[order]).await;
        let status = stack.consume_as("tidings.ledger");
        eventually("it was tried more often than an event at fault would be", TIMEOUT, async || {
            let states = status.partitions();
            let tried =
                |state: &PartitionState| matches!(state, PartitionState::Retrying { attempts: 8.., .. });
            if states.values().any(tried) { Ok(()) } else { Err(states) }
        })
        .await;
        assert!(stack.dead_letters().await.is_empty(), "{code}");
        allow(&stack, "ledger").await;
        stack.caught_up().await;
        assert_eq!(stack.effects(order).await, [1], "{code}");
        stack.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_event_of_many_is_found_by_halving() {
    let mut stack = Stack::start().await;
    let orders = on_one_partition(64);
    refuse(&stack, "ledger", "22000", &orders[41].to_string()).await;
    publish(&stack, &orders).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.dead_letters().await.len(), 1);
    // Each part that was applied is a transaction.
    let transactions: i64 = sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM inbox.events")
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
    assert!(transactions <= 14, "{transactions} transactions for one event of 64");
    stack.stop().await;
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_stops_its_partition_with_an_alarm_of_its_own() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    let refused = new_id();
    refuse(&stack, "ledger", "22000", &refused.to_string()).await;
    sqlx::raw_sql("ALTER TABLE inbox.dead_letters ADD CONSTRAINT none CHECK (false) NOT VALID")
        .execute(stack.database.pool())
        .await
        .unwrap();
    publish(&stack, &[refused]).await;
    let status = stack.consume_as("tidings.ledger");
    eventually("its partition has stopped", TIMEOUT, async || {
        let states = status.partitions();
        let stopped = |state: &PartitionState| matches!(state, PartitionState::Stopped { .. });
        if states.values().any(stopped) { Ok(()) } else { Err(states) }
    })
    .await;
    let stopped = recorded.read().sum("inbox_partitions_stopped_total", &[("reason", "dead_letter_refused")]);
    assert!(stopped.is_some_and(|stopped| stopped >= 1.0), "{stopped:?}");
    sqlx::raw_sql("ALTER TABLE inbox.dead_letters DROP CONSTRAINT none")
        .execute(stack.database.pool())
        .await
        .unwrap();
    stack.caught_up().await;
    assert_eq!(stack.dead_letters().await.len(), 1);
    stack.stop().await;
}
