//! One corrupt row stops nothing but its own payment.

use contracts::clock::{new_id, now};
use payment::application::saga_job::Performed;
use payment::domain::{Answer, Report, TransactionId};
use testkit::exposition::Recorded;
use uuid::Uuid;

use crate::stack::{SETTINGS, Stack, TAKEN, placed, reserved};

impl Stack {
    /// Lets the rows of these orders say what no code can read, as the oldest that are due.
    async fn corrupt(&self, order_ids: &[Uuid]) {
        let corrupted = sqlx::query(
            "UPDATE payments SET state = 'checking_fraud', authorization_id = NULL, due_at = $2 WHERE order_id = ANY($1)",
        )
        .bind(order_ids)
        .bind(now() - chrono::TimeDelta::hours(1))
        .execute(self.pool())
        .await
        .expect("corrupting");
        assert_eq!(corrupted.rows_affected(), order_ids.len() as u64);
    }

    /// Repairs the row of an order that was not charged yet.
    async fn repair(&self, order_id: Uuid) {
        sqlx::query("UPDATE payments SET state = 'authorizing', due_at = now() WHERE order_id = $1")
            .bind(order_id)
            .execute(self.pool())
            .await
            .expect("repairing");
        self.wake.notify_one();
    }

    /// How many of these are due in four minutes or later, and leased by nobody.
    async fn set_aside(&self, order_ids: &[Uuid]) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM payments WHERE order_id = ANY($1) AND due_at > $2 AND lease_id IS NULL",
        )
        .bind(order_ids)
        .bind(now() + chrono::TimeDelta::minutes(4))
        .fetch_one(self.pool())
        .await
        .expect("counting")
    }
}

fn counted(recorded: &Recorded) -> String {
    recorded.sum("corrupt_rows_total", &[("table", "payments")]).to_string()
}

#[tokio::test]
async fn corrupt_payments_among_the_oldest_stop_no_other_payment() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    // More than a worker takes at once.
    let corrupt: Vec<Uuid> = (0..=SETTINGS.concurrency).map(|_| new_id()).collect();
    let whole = new_id();
    for order_id in corrupt.iter().chain([&whole]) {
        stack.apply(&[placed(*order_id, "tok_visa"), reserved(*order_id)]).await;
    }
    stack.corrupt(&corrupt).await;
    let worker = stack.worker();
    testkit::wait::eventually("the whole one is charged", crate::stack::WAIT_TIMEOUT, async || {
        let published = stack.published(whole).await;
        if published.is_empty() { Err(published) } else { Ok(()) }
    })
    .await;
    assert_eq!(stack.money(whole).await, TAKEN);
    assert_eq!(stack.set_aside(&corrupt).await, corrupt.len() as i64);
    assert_eq!(counted(&recorded), corrupt.len().to_string());

    // Repaired, it is charged as well.
    stack.repair(corrupt[0]).await;
    testkit::wait::eventually("the repaired one is charged", crate::stack::WAIT_TIMEOUT, async || {
        let published = stack.published(corrupt[0]).await;
        if published.is_empty() { Err(published) } else { Ok(()) }
    })
    .await;
    worker.stop().await;
    assert_eq!(counted(&recorded), corrupt.len().to_string(), "no hot loop");
}

#[tokio::test]
async fn a_payment_that_is_corrupt_when_its_answer_comes_costs_no_other_answer() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let [corrupt, whole] = [new_id(), new_id()];
    for order_id in [corrupt, whole] {
        stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    }
    let store = stack.store();
    let report = Report::Answered(Answer::Approved { transaction_id: TransactionId("a".to_owned()) });
    let leased = store.lease(2).await.expect("leasing");
    let answers = leased.into_iter().map(|leased| leased.performed(report.clone()));
    let answers: Vec<Performed> = answers.collect();
    assert_eq!(answers.len(), 2);
    stack.corrupt(&[corrupt]).await;
    let next = store.record(&answers, true).await.expect("recording");
    assert_eq!(next.iter().map(|leased| leased.payment.order_id.0).collect::<Vec<_>>(), [whole]);
    assert_eq!(counted(&recorded), "1");
}

/// The table refuses an authorized payment of the orders in `refused`.
const REFUSALS: &str = "
    CREATE TABLE refused (order_id uuid);
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.authorization_id IS NOT NULL AND EXISTS (SELECT FROM refused WHERE order_id = NEW.order_id)
        THEN RAISE 'refused on purpose' USING ERRCODE = 'check_violation'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION refuse()";

#[tokio::test]
async fn an_answer_that_the_table_refuses_ends_no_worker_and_costs_no_other_answer() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    sqlx::raw_sql(REFUSALS).execute(stack.pool()).await.expect("creating");
    let refused = new_id();
    sqlx::query("INSERT INTO refused VALUES ($1)").bind(refused).execute(stack.pool()).await.expect("naming");
    let worker = stack.worker();
    let charged = [new_id(), new_id()];
    for order_id in [charged[0], refused, charged[1]] {
        stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    }
    testkit::wait::eventually("the others are charged", crate::stack::WAIT_TIMEOUT, async || {
        let published = [stack.published(charged[0]).await, stack.published(charged[1]).await];
        let counted = counted(&recorded);
        if published.iter().all(|events| events.len() == 1) && counted == "1" {
            Ok(())
        } else {
            Err((published, counted))
        }
    })
    .await;
    worker.stop().await;
}
