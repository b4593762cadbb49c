//! The inner saga: authorize ─► fraud check ─► capture, one step at a time, undone in reverse order.
//!
//! A refund undoes the capture, a void the authorization; a fraud check holds nothing. What was captured is no longer
//! held, so that after a refund nothing is left to void.

use super::charge::Charge;
use super::payment::{Payment, PaymentEvent};
use super::state::{Call, Charging, State, Undo};
use super::step::{Answer, RefundId, Report, Step, Task, TransactionId};

impl Payment {
    /// What a worker has to do next; nothing while the payment waits or rests.
    #[must_use]
    pub fn due(&self) -> Option<Task> {
        let (step, call) = match &self.state {
            State::Charging { step, call, .. } => (step.step(), *call),
            State::Declining { call, .. } => (Step::Void, *call),
            State::Cancelling { undo, call, .. } => match undo {
                Undo::ResolvingAuthorization => return Some(Task::LookUp(Step::Authorize)),
                Undo::ResolvingCapture { .. } => return Some(Task::LookUp(Step::Capture)),
                Undo::Voiding { .. } => (Step::Void, *call),
                Undo::Refunding { .. } => (Step::Refund, *call),
            },
            State::Unknown
            | State::AwaitingStock { .. }
            | State::AwaitingOrder
            | State::Completed { .. }
            | State::Declined { .. }
            | State::Voided { .. }
            | State::Refunded { .. }
            | State::Cancelled => return None,
        };
        Some(match call {
            Call::Due => Task::Ask(step),
            Call::InDoubt => Task::LookUpThenAsk(step),
        })
    }

    /// A worker is about to ask. Stored before the call, so that a crash leaves a doubt and never a silent charge.
    pub fn begin_call(&mut self) {
        self.set_call(Call::InDoubt);
    }

    /// What a worker brought back for `step`. A report about a step that is no longer the next one changes nothing: a
    /// cancellation came meanwhile, and the way back undoes or ignores it by what it needs to know.
    pub fn report(&mut self, step: Step, report: Report, refund_id: RefundId) -> Option<PaymentEvent> {
        if self.due().map(Task::step) != Some(step) {
            return None;
        }
        let answer = match report {
            Report::Answered(answer) => Some(answer),
            Report::Absent => None,
            Report::Unavailable => {
                self.set_call(Call::Due);
                return None;
            }
            Report::Unknown => return None,
        };
        let (state, event) = match &self.state {
            State::Charging { charge, step, .. } => advance(charge, step, answer),
            State::Declining { charge, authorization, reason, .. } => {
                voided_after_refusal(charge, authorization, reason, answer.as_ref())
            }
            State::Cancelling { charge, undo, .. } => go_back(charge, undo, answer, refund_id),
            State::Unknown
            | State::AwaitingStock { .. }
            | State::AwaitingOrder
            | State::Completed { .. }
            | State::Declined { .. }
            | State::Voided { .. }
            | State::Refunded { .. }
            | State::Cancelled => return None,
        };
        self.state = state;
        event
    }

    fn set_call(&mut self, to: Call) {
        match &mut self.state {
            State::Charging { call, .. } | State::Declining { call, .. } | State::Cancelling { call, .. } => {
                *call = to;
            }
            State::Unknown
            | State::AwaitingStock { .. }
            | State::AwaitingOrder
            | State::Completed { .. }
            | State::Declined { .. }
            | State::Voided { .. }
            | State::Refunded { .. }
            | State::Cancelled => {}
        }
    }
}

/// The way forward, one answer at a time; `None` says that the provider knows nothing of the step.
fn advance(charge: &Charge, step: &Charging, answer: Option<Answer>) -> (State, Option<PaymentEvent>) {
    let charge = charge.clone();
    let go_on = |charge, step| (State::Charging { charge, step, call: Call::Due }, None);
    let Some(answer) = answer else { return go_on(charge, step.clone()) };
    match (step, answer) {
        (Charging::Authorizing, Answer::Approved { transaction_id }) => {
            go_on(charge, Charging::CheckingFraud { authorization: transaction_id })
        }
        (Charging::CheckingFraud { authorization }, Answer::Approved { .. }) => {
            go_on(charge, Charging::Capturing { authorization: authorization.clone() })
        }
        (Charging::Capturing { .. }, Answer::Approved { transaction_id: capture }) => (
            State::Completed { charge: charge.clone(), capture: capture.clone() },
            Some(PaymentEvent::Completed { charge, capture }),
        ),
        (Charging::Authorizing, Answer::Declined { reason }) => declined(charge, reason),
        (
            Charging::CheckingFraud { authorization } | Charging::Capturing { authorization },
            Answer::Declined { reason },
        ) => {
            let authorization = authorization.clone();
            (State::Declining { charge, authorization, reason, call: Call::Due }, None)
        }
    }
}

/// Both of the provider's answers to the void mean that nothing is held: it refuses only what was captured, and it
/// has refused the capture, or was never asked for it.
fn voided_after_refusal(
    charge: &Charge,
    authorization: &TransactionId,
    reason: &str,
    answer: Option<&Answer>,
) -> (State, Option<PaymentEvent>) {
    let (charge, reason) = (charge.clone(), reason.to_owned());
    match answer {
        Some(Answer::Approved { .. } | Answer::Declined { .. }) => declined(charge, reason),
        None => {
            let authorization = authorization.clone();
            (State::Declining { charge, authorization, reason, call: Call::Due }, None)
        }
    }
}

fn declined(charge: Charge, reason: String) -> (State, Option<PaymentEvent>) {
    (
        State::Declined { charge: charge.clone(), reason: reason.clone() },
        Some(PaymentEvent::Declined { charge, reason }),
    )
}

/// The way back, one answer at a time. A void that the provider refuses means that a capture arrived before it, so the
/// capture is looked up again. A refund that the provider refuses is asked for again: the money is the customer's.
fn go_back(
    charge: &Charge,
    undo: &Undo,
    answer: Option<Answer>,
    refund_id: RefundId,
) -> (State, Option<PaymentEvent>) {
    let charge = charge.clone();
    let go_on = |charge, undo| (State::Cancelling { charge, undo, call: Call::Due }, None);
    match (undo, answer) {
        (Undo::ResolvingAuthorization, Some(Answer::Approved { transaction_id })) => {
            go_on(charge, Undo::Voiding { authorization: Some(transaction_id) })
        }
        // The void forbids an authorization that is still on its way to the provider.
        (Undo::ResolvingAuthorization, None) => go_on(charge, Undo::Voiding { authorization: None }),
        // It was taken, and that is a fact: the world hears of it before it hears of the refund.
        (Undo::ResolvingCapture { .. }, Some(Answer::Approved { transaction_id: capture })) => (
            State::Cancelling {
                charge: charge.clone(),
                undo: Undo::Refunding { capture: capture.clone() },
                call: Call::Due,
            },
            Some(PaymentEvent::Completed { charge, capture }),
        ),
        // Likewise: once voided, a capture that arrives late is refused.
        (Undo::ResolvingCapture { authorization }, Some(Answer::Declined { .. }) | None) => {
            go_on(charge, Undo::Voiding { authorization: Some(authorization.clone()) })
        }
        (Undo::Voiding { authorization: Some(authorization) }, Some(Answer::Declined { .. })) => {
            go_on(charge, Undo::ResolvingCapture { authorization: authorization.clone() })
        }
        (Undo::ResolvingAuthorization, Some(Answer::Declined { .. }))
        | (Undo::Voiding { authorization: None }, Some(Answer::Declined { .. }))
        | (Undo::Voiding { .. }, Some(Answer::Approved { .. })) => {
            (State::Voided { charge }, Some(PaymentEvent::Voided))
        }
        (Undo::Refunding { capture }, Some(Answer::Approved { transaction_id: refund })) => (
            State::Refunded { charge: charge.clone(), capture: capture.clone(), refund_id, refund },
            Some(PaymentEvent::Refunded { charge, refund_id }),
        ),
        (Undo::Refunding { capture }, Some(Answer::Declined { .. })) => {
            go_on(charge, Undo::Refunding { capture: capture.clone() })
        }
        (undo @ (Undo::Voiding { .. } | Undo::Refunding { .. }), None) => go_on(charge, undo.clone()),
    }
}
