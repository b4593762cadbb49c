//! Given a payment's history, when a fact or an answer arrives, then this state and this event.

mod every_history;

use uuid::Uuid;

use super::*;

fn charge() -> Charge {
    Charge {
        money: Money { amount_minor: 4_200, currency: "GBP".to_owned() },
        method: PaymentMethod::new("tok_visa"),
    }
}

fn transaction(name: &str) -> TransactionId {
    TransactionId(name.to_owned())
}

fn approved(name: &str) -> Report {
    Report::Answered(Answer::Approved { transaction_id: transaction(name) })
}

fn declined(reason: &str) -> Report {
    Report::Answered(Answer::Declined { reason: reason.to_owned() })
}

/// What may happen to a payment in these tests.
enum Input {
    Placed,
    Reserved,
    CancelledByOrder,
    /// A worker takes the step that is due.
    Asks,
    Reports(Step, Report),
}

use Input::{Asks, CancelledByOrder, Placed, Reports, Reserved};

const REFUND: RefundId = RefundId(Uuid::from_u128(7));

struct Given(Payment);

impl Given {
    fn new(history: Vec<Input>) -> Self {
        let mut given = Self(Payment {
            order_id: OrderId(Uuid::from_u128(1)),
            payment_id: PaymentId(Uuid::from_u128(2)),
            state: State::Unknown,
        });
        for happens in history {
            given.when(happens);
        }
        given
    }

    fn when(&mut self, input: Input) -> Option<PaymentEvent> {
        match input {
            Placed => self.0.order_placed(charge()).map(|()| None).expect("a possible order"),
            Reserved => {
                self.0.stock_reserved();
                None
            }
            CancelledByOrder => {
                self.0.order_cancelled();
                None
            }
            Asks => {
                assert!(self.0.due().is_some(), "nothing is due in {:?}", self.0.state);
                self.0.begin_call();
                None
            }
            Reports(step, report) => self.0.report(step, report, REFUND),
        }
    }
}

fn authorized() -> Vec<Input> {
    vec![Placed, Reserved, Asks, Reports(Step::Authorize, approved("a"))]
}

fn capturing() -> Vec<Input> {
    let mut history = authorized();
    history.extend([Asks, Reports(Step::CheckFraud, approved("f"))]);
    history
}

fn completed() -> Vec<Input> {
    let mut history = capturing();
    history.extend([Asks, Reports(Step::Capture, approved("c"))]);
    history
}

#[test]
fn nothing_is_due_before_both_the_order_and_its_stock_are_known() {
    assert_eq!(Given::new(vec![]).0.due(), None);
    assert_eq!(Given::new(vec![Placed]).0.due(), None);
    assert_eq!(Given::new(vec![Reserved]).0.due(), None);
    assert_eq!(Given::new(vec![Placed, Reserved]).0.due(), Some(Task::Ask(Step::Authorize)));
    assert_eq!(Given::new(vec![Reserved, Placed]).0.due(), Some(Task::Ask(Step::Authorize)));
}

#[test]
fn authorization_fraud_check_and_capture_complete_a_payment() {
    let mut given = Given::new(capturing());
    given.when(Asks);
    let event = given.when(Reports(Step::Capture, approved("c")));
    assert_eq!(event, Some(PaymentEvent::Completed { charge: charge(), capture: transaction("c") }));
    assert_eq!(given.0.due(), None);
}

#[test]
fn a_declined_authorization_leaves_nothing_to_undo() {
    let mut given = Given::new(vec![Placed, Reserved, Asks]);
    let event = given.when(Reports(Step::Authorize, declined("card_declined")));
    assert_eq!(event, Some(PaymentEvent::Declined { charge: charge(), reason: "card_declined".to_owned() }));
    assert_eq!(given.0.due(), None);
}

#[test]
fn a_refusal_after_the_authorization_voids_it_before_it_is_told() {
    for (history, step) in [(authorized(), Step::CheckFraud), (capturing(), Step::Capture)] {
        let mut given = Given::new(history);
        given.when(Asks);
        assert_eq!(given.when(Reports(step, declined("no"))), None);
        assert_eq!(given.0.due(), Some(Task::Ask(Step::Void)));
        given.when(Asks);
        let event = given.when(Reports(Step::Void, approved("v")));
        assert_eq!(event, Some(PaymentEvent::Declined { charge: charge(), reason: "no".to_owned() }));
    }
}

#[test]
fn a_step_without_an_answer_is_looked_up_before_it_is_repeated() {
    for history in [vec![Placed, Reserved], authorized(), capturing()] {
        let mut given = Given::new(history);
        let step = given.0.due().expect("a step").step();
        given.when(Asks);
        given.when(Reports(step, Report::Unknown));
        assert_eq!(given.0.due(), Some(Task::LookUpThenAsk(step)));
    }
}

#[test]
fn a_step_that_certainly_did_not_happen_is_simply_asked_for_again() {
    let mut given = Given::new(vec![Placed, Reserved, Asks]);
    given.when(Reports(Step::Authorize, Report::Unavailable));
    assert_eq!(given.0.due(), Some(Task::Ask(Step::Authorize)));
}

#[test]
fn an_order_cancelled_before_anything_was_asked_is_never_charged() {
    for history in [vec![], vec![Placed], vec![Reserved], vec![Placed, Reserved]] {
        let mut given = Given::new(history);
        given.when(CancelledByOrder);
        given.when(Placed);
        given.when(Reserved);
        assert_eq!(given.0.state, State::Cancelled);
    }
}

#[test]
fn a_cancellation_voids_what_is_certainly_only_held() {
    for asked in [false, true] {
        let mut given = Given::new(authorized());
        if asked {
            given.when(Asks);
        }
        given.when(CancelledByOrder);
        assert_eq!(given.0.due(), Some(Task::Ask(Step::Void)));
        assert_eq!(given.when(Reports(Step::CheckFraud, approved("late"))), None);
        assert_eq!(given.when(Reports(Step::Void, approved("v"))), Some(PaymentEvent::Voided));
        assert_eq!(given.0.state, State::Voided { charge: charge() });
    }
}

#[test]
fn a_cancellation_looks_up_a_capture_in_doubt_before_it_undoes_anything() {
    let mut given = Given::new(capturing());
    given.when(Asks);
    given.when(CancelledByOrder);
    assert_eq!(given.0.due(), Some(Task::LookUp(Step::Capture)));
    given.when(Reports(Step::Capture, approved("c")));
    assert_eq!(given.0.due(), Some(Task::Ask(Step::Refund)));
    let event = given.when(Reports(Step::Refund, approved("r")));
    assert_eq!(event, Some(PaymentEvent::Refunded { charge: charge(), refund_id: REFUND }));
}

#[test]
fn a_capture_that_arrives_between_look_up_and_void_is_refunded() {
    let mut given = Given::new(capturing());
    given.when(Asks);
    given.when(CancelledByOrder);
    given.when(Reports(Step::Capture, Report::Absent));
    assert_eq!(given.0.due(), Some(Task::Ask(Step::Void)));
    given.when(Reports(Step::Void, declined("already_captured")));
    assert_eq!(given.0.due(), Some(Task::LookUp(Step::Capture)));
    given.when(Reports(Step::Capture, approved("c")));
    assert_eq!(given.0.due(), Some(Task::Ask(Step::Refund)));
}

#[test]
fn an_authorization_in_doubt_is_voided_even_when_the_provider_has_not_seen_it_yet() {
    for found in [approved("a"), Report::Absent] {
        let mut given = Given::new(vec![Placed, Reserved, Asks, CancelledByOrder]);
        assert_eq!(given.0.due(), Some(Task::LookUp(Step::Authorize)));
        given.when(Reports(Step::Authorize, found));
        assert_eq!(given.0.due(), Some(Task::Ask(Step::Void)));
        assert_eq!(given.when(Reports(Step::Void, approved("v"))), Some(PaymentEvent::Voided));
    }
}

#[test]
fn a_cancellation_after_the_payment_completed_refunds_it_once() {
    let mut given = Given::new(completed());
    given.when(CancelledByOrder);
    assert_eq!(given.0.due(), Some(Task::Ask(Step::Refund)));
    given.when(Asks);
    given.when(Reports(Step::Refund, approved("r")));
    given.when(CancelledByOrder);
    assert_eq!(given.0.due(), None);
    let refunded = State::Refunded {
        charge: charge(),
        capture: transaction("c"),
        refund_id: REFUND,
        refund: transaction("r"),
    };
    assert_eq!(given.0.state, refunded);
}

#[test]
fn a_refund_that_the_provider_refuses_is_asked_for_again() {
    let mut given = Given::new(completed());
    given.when(CancelledByOrder);
    assert_eq!(given.when(Reports(Step::Refund, declined("not_now"))), None);
    assert_eq!(given.0.due(), Some(Task::Ask(Step::Refund)));
}

#[test]
fn another_order_under_the_same_id_is_refused() {
    let other = Charge { method: PaymentMethod::new("tok_other"), ..charge() };
    for history in [vec![Placed], authorized(), completed()] {
        let mut given = Given::new(history);
        let before = given.0.clone();
        let refused = given.0.order_placed(other.clone());
        assert_eq!(refused, Err(Refusal::ContradictingOrder { order_id: before.order_id }));
        assert_eq!(given.0, before);
    }
}

#[test]
fn a_negative_total_is_refused() {
    let mut given = Given::new(vec![]);
    let mut negative = charge();
    negative.money.amount_minor = -1;
    assert!(matches!(given.0.order_placed(negative), Err(Refusal::NegativeAmount { .. })));
}

#[test]
fn a_payment_method_never_prints() {
    assert!(!format!("{:?}", charge()).contains("tok_visa"));
}
