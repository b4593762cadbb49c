//! The saga: authorize ─► fraud check ─► capture, one step at a time, undone in reverse order.
//!
//! A refund undoes the capture, a void the authorization; a fraud check holds nothing. After a refund nothing is left to
//! void: what was captured is no longer held.
//!
//! **Calls in doubt.** A worker stores that it calls the provider before it does, and the answer after. Whatever ends
//! it in between leaves a call whose outcome is unknown, and a cancellation may come first:
//!
//! ~~~text
//! worker 1            row                            provider
//! leases the step ──► Capture, in doubt
//! calls ───────────────────────────────────────────► captured, or not yet
//! dies
//!                     OrderCancelled: ResolveCapture
//! worker 2 looks up ───────────────────────────────► captured: Refund
//!                                                    no record: Void, which forbids a capture that arrives late
//! ~~~
//!
//! So a step in doubt is looked up by its key before it is repeated or undone. Voiding at once would be refused where
//! the money was captured; refunding at once would give back what was never captured.

use super::charge::Charge;
use super::payment::{Payment, PaymentEvent};
use super::state::{Call, NextStep, State};
use super::step::{Answer, RefundId, Report, Step, Task};

impl Payment {
    /// What a worker does next; nothing while the payment waits for an event, or has ended.
    pub fn due(&self) -> Option<Task> {
        let State::InProgress { next, call, .. } = &self.state else { return None };
        Some(match (next, call) {
            (NextStep::ResolveAuthorization | NextStep::ResolveCapture { .. }, _) => {
                Task::LookUp(next.step())
            }
            (_, Call::Due) => Task::Ask(next.step()),
            (_, Call::InDoubt) => Task::LookUpThenAsk(next.step()),
        })
    }

    /// A worker is about to call the provider. Stored before the call, so that a crash leaves a doubt and never an
    /// unrecorded charge.
    pub fn begin_call(&mut self) {
        self.set_call(Call::InDoubt);
    }

    fn set_call(&mut self, to: Call) {
        if let State::InProgress { call, .. } = &mut self.state {
            *call = to;
        }
    }

    /// Applies what a worker learned of `step`. A report of a step that is no longer the next one changes nothing: the
    /// order was cancelled meanwhile, and what undoes it looks up what it needs.
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
        let State::InProgress { charge, next, .. } = self.state.clone() else { return None };
        let (state, event) = advance(charge, next, answer, refund_id);
        self.state = state;
        event
    }
}

/// Where the provider's answer leads. `None` says that the provider has no record of the step.
fn advance(
    charge: Charge,
    next: NextStep,
    answer: Option<Answer>,
    refund_id: RefundId,
) -> (State, Option<PaymentEvent>) {
    use Answer::{Approved, Declined};
    let next = match (next, answer) {
        (NextStep::Authorize, Some(Approved { transaction_id })) => {
            NextStep::CheckFraud { authorization: transaction_id }
        }
        (NextStep::CheckFraud { authorization }, Some(Approved { .. })) => {
            NextStep::Capture { authorization }
        }
        (NextStep::Capture { .. }, Some(Approved { transaction_id: capture })) => {
            let event = PaymentEvent::Completed { charge: charge.clone(), capture: capture.clone() };
            return (State::Completed { charge, capture }, Some(event));
        }
        (NextStep::Authorize, Some(Declined { reason })) => return declined(charge, reason),
        (
            NextStep::CheckFraud { authorization } | NextStep::Capture { authorization },
            Some(Declined { reason }),
        ) => NextStep::VoidDeclined { authorization, reason },
        // Nothing is held in either case: a void is declined only after a capture, and there was none.
        (NextStep::VoidDeclined { reason, .. }, Some(Approved { .. } | Declined { .. })) => {
            return declined(charge, reason);
        }

        (NextStep::ResolveAuthorization, Some(Approved { transaction_id })) => {
            NextStep::Void { authorization: Some(transaction_id) }
        }
        // The void forbids an authorization that is still on its way to the provider, and likewise a capture.
        (NextStep::ResolveAuthorization, None) => NextStep::Void { authorization: None },
        (NextStep::ResolveCapture { authorization }, Some(Declined { .. }) | None) => {
            NextStep::Void { authorization: Some(authorization) }
        }
        // The capture is published before its refund.
        (NextStep::ResolveCapture { .. }, Some(Approved { transaction_id: capture })) => {
            let event = PaymentEvent::Completed { charge: charge.clone(), capture: capture.clone() };
            let next = NextStep::Refund { capture };
            return (State::InProgress { charge, next, call: Call::Due }, Some(event));
        }
        // A void is declined when a capture arrived before it.
        (NextStep::Void { authorization: Some(authorization) }, Some(Declined { .. })) => {
            NextStep::ResolveCapture { authorization }
        }
        (NextStep::ResolveAuthorization | NextStep::Void { authorization: None }, Some(Declined { .. }))
        | (NextStep::Void { .. }, Some(Approved { .. })) => {
            return (State::Voided { charge }, Some(PaymentEvent::Voided));
        }
        (NextStep::Refund { capture }, Some(Approved { transaction_id: refund })) => {
            let event = PaymentEvent::Refunded { charge: charge.clone(), refund_id };
            return (State::Refunded { charge, capture, refund_id, refund }, Some(event));
        }
        // A declined refund is tried again: the money is the customer's. So is a step without a record.
        (next @ NextStep::Refund { .. }, Some(Declined { .. })) | (next, None) => next,
    };
    (State::InProgress { charge, next, call: Call::Due }, None)
}

fn declined(charge: Charge, reason: String) -> (State, Option<PaymentEvent>) {
    let event = PaymentEvent::Declined { charge: charge.clone(), reason: reason.clone() };
    (State::Declined { charge, reason }, Some(event))
}
