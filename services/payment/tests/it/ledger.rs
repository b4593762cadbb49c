//! The built-in provider keeps the promises of the trait `Provider`, also towards callers in parallel.

use contracts::clock::new_id;
use payment::domain::{Answer, Charge, Money, PaymentId, PaymentMethod, Step, TransactionId};
use tokio::task::JoinSet;

use crate::stack::Stack;

fn charge(token: &str) -> Charge {
    Charge {
        money: Money { amount_minor: 100, currency: "GBP".to_owned() },
        method: PaymentMethod::new(token),
    }
}

fn any() -> TransactionId {
    TransactionId("any".to_owned())
}

fn is_approved(answer: &Answer) -> bool {
    matches!(answer, Answer::Approved { .. })
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_ones_answer_and_moves_nothing() {
    let stack = Stack::start().await;
    let provider = stack.provider();
    let (id, charge) = (PaymentId(new_id()), charge("tok_visa"));
    let first = provider.authorize(id, &charge).await.expect("an answer");
    assert_eq!(provider.authorize(id, &charge).await.expect("an answer"), first);
    let captured = provider.capture(id, &charge, &any()).await.expect("an answer");
    assert_eq!(provider.capture(id, &charge, &any()).await.expect("an answer"), captured);
    let refunded = provider.refund(id, &charge, &any()).await.expect("an answer");
    assert_eq!(provider.refund(id, &charge, &any()).await.expect("an answer"), refunded);
    assert!(is_approved(&first) && is_approved(&captured) && is_approved(&refunded));
    let steps: Vec<Step> =
        provider.ledger(id).await.expect("a ledger").into_iter().map(|entry| entry.step).collect();
    assert_eq!(steps, [Step::Authorize, Step::Capture, Step::Refund]);
    assert_eq!(provider.look_up(id, Step::Capture).await, Ok(Some(captured)));
    assert_eq!(provider.look_up(id, Step::Void).await, Ok(None));
}

#[tokio::test]
async fn a_void_forbids_what_arrives_after_it_even_when_nothing_arrived_before() {
    let stack = Stack::start().await;
    let provider = stack.provider();
    let (id, charge) = (PaymentId(new_id()), charge("tok_visa"));
    assert!(is_approved(&provider.void(id, &charge, None).await.expect("an answer")));
    let late = provider.authorize(id, &charge).await.expect("an answer");
    assert_eq!(late, Answer::Declined { reason: "voided".to_owned() });
    let late = provider.capture(id, &charge, &any()).await.expect("an answer");
    assert_eq!(late, Answer::Declined { reason: "not_authorized".to_owned() });
}

#[tokio::test]
async fn a_void_is_declined_while_something_is_captured_and_not_written_down() {
    let stack = Stack::start().await;
    let provider = stack.provider();
    let (id, charge) = (PaymentId(new_id()), charge("tok_visa"));
    provider.authorize(id, &charge).await.expect("an answer");
    provider.capture(id, &charge, &any()).await.expect("an answer");
    assert!(!is_approved(&provider.void(id, &charge, None).await.expect("an answer")));
    assert_eq!(provider.look_up(id, Step::Void).await, Ok(None));
}

#[tokio::test]
async fn of_a_capture_and_a_void_at_the_same_time_exactly_one_is_approved() {
    let stack = Stack::start().await;
    let mut captured = 0;
    for _ in 0..40 {
        let (id, charge) = (PaymentId(new_id()), charge("tok_visa"));
        stack.provider().authorize(id, &charge).await.expect("an answer");
        let (provider, other) = (stack.provider(), stack.provider());
        let any = any();
        let (capture, void) =
            tokio::join!(provider.capture(id, &charge, &any), other.void(id, &charge, Some(&any)));
        let (capture, void) = (capture.expect("an answer"), void.expect("an answer"));
        assert_ne!(is_approved(&capture), is_approved(&void), "{capture:?} and {void:?}");
        captured += i32::from(is_approved(&capture));
    }
    println!("{captured} of 40 captures won");
}

#[tokio::test]
async fn many_equal_calls_at_once_act_once() {
    let stack = Stack::start().await;
    let (id, charge) = (PaymentId(new_id()), charge("tok_visa"));
    let provider = stack.provider();
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (provider, charge) = (provider.clone(), charge.clone());
        calls.spawn(async move { provider.authorize(id, &charge).await.expect("an answer") });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| answer == &answers[0] && is_approved(answer)), "{answers:?}");
    assert_eq!(provider.ledger(id).await.expect("a ledger").len(), 1);
}

#[tokio::test]
async fn a_flaky_provider_works_in_the_end() {
    let stack = Stack::start().await;
    let provider = stack.provider();
    let (id, charge) = (PaymentId(new_id()), charge("tok_flaky"));
    for _ in 0..2 {
        provider.authorize(id, &charge).await.expect_err("an interruption");
        assert_eq!(provider.look_up(id, Step::Authorize).await, Ok(None));
    }
    assert!(is_approved(&provider.authorize(id, &charge).await.expect("an answer")));
}
