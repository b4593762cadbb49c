//! Payments are counted once, by their outcome.

use contracts::clock::new_id;
use payment::application::saga_job::Performed;
use payment::domain::{Answer, Report};
use testkit::exposition::Recorded;

use crate::stack::{Stack, cancelled, placed, reserved};

fn counted(recorded: &Recorded) -> [String; 4] {
    ["completed", "declined", "voided", "refunded"]
        .map(|outcome| recorded.sum("payments_total", &[("outcome", outcome)]).to_string())
}

#[tokio::test]
async fn each_payment_is_counted_once_by_each_outcome() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let worker = stack.worker();
    assert_eq!(counted(&recorded), ["0", "0", "0", "0"]);
    let [completed, refunded, declined, never_charged] = [new_id(), new_id(), new_id(), new_id()];
    stack
        .apply(&[
            placed(completed, "tok_visa"),
            reserved(completed),
            placed(refunded, "tok_visa"),
            reserved(refunded),
            placed(declined, "tok_declined"),
            reserved(declined),
            placed(never_charged, "tok_visa"),
            cancelled(never_charged),
        ])
        .await;
    stack.rest().await;
    stack.apply(&[cancelled(refunded), cancelled(declined)]).await;
    stack.rest().await;
    worker.stop().await;
    assert_eq!(counted(&recorded), ["2", "1", "0", "1"]);
}

#[tokio::test]
async fn an_answer_that_changes_nothing_is_not_counted() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    let store = stack.store();
    let leased = store.lease(1).await.expect("leasing").remove(0);
    let declined = leased.clone().performed(Report::Answered(Answer::Declined { reason: "no".to_owned() }));
    let answer = |lease_id| Performed { lease_id, ..declined.clone() };
    store.record(&[answer(new_id())], false).await.expect("recording");
    assert_eq!(counted(&recorded), ["0", "0", "0", "0"]);
    store.record(&[answer(leased.lease_id)], false).await.expect("recording");
    store.record(&[answer(leased.lease_id)], false).await.expect("recording");
    assert_eq!(counted(&recorded), ["0", "1", "0", "0"]);
}
