//! What the gauges and counters say of money in motion.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use contracts::clock::new_id;
use payment::adapters::backlog_sampler::BacklogSampler;
use payment::application::provider::{CallError, CallResult, LedgerEntry, Provider};
use payment::application::saga_job::{Leased, Performed};
use payment::domain::{Answer, Charge, PaymentId, Report, Step, TransactionId};
use service::Sampler as _;
use testkit::exposition::Recorded;

use crate::stack::{SETTINGS, Stack, cancelled, placed, reserved};

fn due(recorded: &Recorded, state: &str) -> (f64, f64) {
    let of = |name| recorded.sum(name, &[("state", state)]);
    (of("payment_steps_due"), of("payment_oldest_step_age_seconds"))
}

fn performed(leased: &Leased, report: Report) -> Performed {
    leased.clone().performed(report)
}

#[tokio::test]
async fn a_step_is_as_old_as_its_first_attempt_and_the_next_one_is_new() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let (store, sampler) = (stack.store(), BacklogSampler::new(stack.database().clone()));
    sampler.sample().await.unwrap();
    assert_eq!(due(&recorded, "authorizing"), (0.0, 0.0));
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    let hour_ago =
        "UPDATE payments SET step_began_at = step_began_at - interval '1 hour' WHERE due_at IS NOT NULL";
    assert_eq!(sqlx::query(hour_ago).execute(stack.pool()).await.unwrap().rows_affected(), 1);
    let leased = store.lease(1).await.unwrap().remove(0);
    store.record(&[performed(&leased, Report::Unavailable)], false).await.unwrap();
    sampler.sample().await.unwrap();
    let (count, age) = due(&recorded, "authorizing");
    assert!((count - 1.0).abs() < 0.1 && (3_600.0..3_700.0).contains(&age), "{count} {age}");

    let at_once = "UPDATE payments SET due_at = now() - interval '1 second' WHERE due_at IS NOT NULL";
    sqlx::query(at_once).execute(stack.pool()).await.unwrap();
    let leased = store.lease(1).await.unwrap().remove(0);
    let approved = Answer::Approved { transaction_id: TransactionId("1".to_owned()) };
    store.record(&[performed(&leased, Report::Answered(approved))], false).await.unwrap();
    sampler.sample().await.unwrap();
    assert_eq!(due(&recorded, "authorizing"), (0.0, 0.0));
    let (count, age) = due(&recorded, "checking_fraud");
    assert!((count - 1.0).abs() < 0.1 && age < 100.0, "{count} {age}");
}

/// The built-in provider, but for the first refunds, which it refuses.
#[derive(Debug)]
struct RefusesRefunds(Arc<dyn Provider>, AtomicUsize);

#[async_trait]
impl Provider for RefusesRefunds {
    async fn prepare(&self) -> anyhow::Result<()> {
        self.0.prepare().await
    }

    async fn authorize(&self, id: PaymentId, charge: &Charge) -> CallResult {
        self.0.authorize(id, charge).await
    }

    async fn check_fraud(&self, id: PaymentId, charge: &Charge, authorization: &TransactionId) -> CallResult {
        self.0.check_fraud(id, charge, authorization).await
    }

    async fn capture(&self, id: PaymentId, charge: &Charge, authorization: &TransactionId) -> CallResult {
        self.0.capture(id, charge, authorization).await
    }

    async fn void(
        &self,
        id: PaymentId,
        charge: &Charge,
        authorization: Option<&TransactionId>,
    ) -> CallResult {
        self.0.void(id, charge, authorization).await
    }

    async fn refund(&self, id: PaymentId, charge: &Charge, capture: &TransactionId) -> CallResult {
        let is_refused =
            self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if is_refused {
            return Ok(Answer::Declined { reason: "insufficient_funds".to_owned() });
        }
        self.0.refund(id, charge, capture).await
    }

    async fn look_up(&self, payment_id: PaymentId, step: Step) -> Result<Option<Answer>, CallError> {
        self.0.look_up(payment_id, step).await
    }

    async fn ledger(&self, payment_id: PaymentId) -> Result<Vec<LedgerEntry>, CallError> {
        self.0.ledger(payment_id).await
    }
}

#[tokio::test]
async fn calls_are_counted_by_step_and_outcome_and_so_are_refused_refunds() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let provider = RefusesRefunds(stack.provider(), AtomicUsize::new(3));
    let worker = stack.worker_of(stack.steps(Arc::new(provider), SETTINGS), SETTINGS);
    let (refunded, declined) = (new_id(), new_id());
    let facts = [
        placed(refunded, "tok_visa"),
        reserved(refunded),
        placed(declined, "tok_declined"),
        reserved(declined),
    ];
    stack.apply(&facts).await;
    stack.rest().await;
    stack.apply(&[cancelled(refunded)]).await;
    stack.rest().await;
    worker.stop().await;
    let calls = |step, outcome| {
        recorded.sum("payment_provider_calls_total", &[("step", step), ("outcome", outcome)]).to_string()
    };
    assert_eq!(
        (calls("authorize", "approved"), calls("authorize", "declined")),
        ("1".to_owned(), "1".to_owned())
    );
    assert_eq!(
        (calls("check_fraud", "approved"), calls("capture", "approved")),
        ("1".to_owned(), "1".to_owned())
    );
    assert_eq!((calls("refund", "declined"), calls("refund", "approved")), ("3".to_owned(), "1".to_owned()));
    assert_eq!(recorded.sum("payment_refunds_refused_total", &[]).to_string(), "3");
}
