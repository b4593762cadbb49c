//! All orders of arrival, each fact doubled, give the same mails, each once.

use contracts::AnyEvent;
use contracts::clock::new_id;
use inbox::HandlerError;
use inbox::testing::permutations;
use uuid::Uuid;

use crate::stack::{Stack, apply, cancelled, confirmed, placed, placed_by, refunded, try_apply};

/// Applies every permutation of the doubled facts, in batches of one, two and all, and checks the mails.
async fn every_arrival(facts: impl Fn(Uuid) -> Vec<AnyEvent>, expected: &[&str]) -> usize {
    let stack = Stack::start().await;
    let count = permutations(&facts(Uuid::nil())).len();
    let mut orders = Vec::new();
    for index in 0..count {
        let order_id = new_id();
        orders.push((order_id, permutations(&facts(order_id)).swap_remove(index), 1 + index % 3));
    }
    let rounds = facts(Uuid::nil()).len();
    for size in 1..=3 {
        for round in 0..rounds.div_ceil(size) {
            let batch: Vec<AnyEvent> = orders
                .iter()
                .filter(|(_, _, batch)| *batch == size)
                .flat_map(|(_, facts, _)| facts.chunks(size).nth(round).unwrap_or_default())
                .cloned()
                .collect();
            apply(stack.database(), &batch).await;
        }
    }
    for (order_id, facts, _) in orders {
        assert_eq!(stack.kinds(order_id).await, expected, "{facts:#?}");
    }
    count
}

#[tokio::test]
async fn every_order_of_arrival_of_doubled_facts_gives_the_same_mails_once() {
    let confirmed_twice = |id| vec![placed(id), confirmed(id), placed(id), confirmed(id)];
    let mut cases = every_arrival(confirmed_twice, &["order_confirmed", "order_received"]).await;
    let cancelled_and_refunded =
        |id| vec![placed(id), cancelled(id), refunded(id), cancelled(id), refunded(id)];
    cases +=
        every_arrival(cancelled_and_refunded, &["order_cancelled", "order_received", "payment_refunded"])
            .await;
    let nobody = |id| vec![placed_by(id, None), cancelled(id), refunded(id), placed_by(id, None)];
    cases += every_arrival(nobody, &[]).await;
    println!("{cases} orders of arrival");
}

#[tokio::test]
async fn an_order_without_a_recipient_is_recorded_as_such() {
    let stack = Stack::start().await;
    let order_id = new_id();
    apply(stack.database(), &[placed_by(order_id, None), confirmed(order_id)]).await;
    let recipient_status: String =
        sqlx::query_scalar("SELECT recipient_status FROM orders WHERE order_id = $1")
            .bind(order_id)
            .fetch_one(stack.pool())
            .await
            .expect("a row");
    assert_eq!(recipient_status, "absent");
    assert_eq!(stack.mails(order_id).await, []);
}

#[tokio::test]
async fn a_second_end_is_rejected_and_changes_nothing() {
    let stack = Stack::start().await;
    let order_id = new_id();
    apply(stack.database(), &[placed(order_id), confirmed(order_id)]).await;
    let refused = try_apply(stack.database(), &[cancelled(order_id)]).await;
    let Err(HandlerError::Rejected { rejection, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(rejection.reason, "contradicting_end");
    assert_eq!(stack.kinds(order_id).await, ["order_confirmed", "order_received"]);
}

#[tokio::test]
async fn the_table_itself_refuses_a_second_mail_of_a_kind() {
    let stack = Stack::start().await;
    let order_id = new_id();
    apply(stack.database(), &[placed(order_id)]).await;
    let second = sqlx::query(
        "INSERT INTO mails (order_id, kind, message_id, recipient_name, recipient_email, subject, body_text,
                            body_html, due_at, created_at)
         SELECT order_id, kind, 'another of ' || message_id, recipient_name, recipient_email, subject, body_text,
                body_html, due_at, created_at FROM mails",
    );
    let refusal = second.execute(stack.pool()).await.expect_err("one of each kind per order");
    let code = refusal.as_database_error().and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some("23505"), "{refusal}");
    assert_eq!(stack.kinds(order_id).await, ["order_received"]);
}
