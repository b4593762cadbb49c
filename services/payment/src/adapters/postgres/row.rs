//! A payment's state flattened into columns and read back from them.

use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};
use events::LastEvent;
use serde::Serialize;
use uuid::Uuid;

use crate::application::saga_job::SagaJob;
use crate::domain::{
    Call, Charge, Money, NextStep, OrderId, Payment, PaymentId, PaymentMethod, RefundId, State, TransactionId,
};

/// One row of `payments`, its columns by name.
#[derive(Clone, Default, Serialize, sqlx_macros::FromRow)]
pub(super) struct PaymentRow {
    pub(super) order_id: Uuid,
    payment_id: Uuid,
    state: String,
    call_state: Option<String>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    payment_method: Option<String>,
    authorization_id: Option<String>,
    capture_id: Option<String>,
    refund_id: Option<Uuid>,
    refund_transaction_id: Option<String>,
    decline_reason: Option<String>,
    last_sequence: i64,
    pub(super) last_message_id: Option<i64>,
    due_at: Option<DateTime<Utc>>,
    lease_id: Option<Uuid>,
    attempts: i32,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    user_id: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    updated_at: DateTime<Utc>,
}

/// A row of `payments` that no code of ours can have written.
#[derive(Debug, thiserror::Error)]
#[error("the row of order {order_id} is no valid payment in state {state:?}")]
pub(super) struct CorruptRow {
    pub(super) order_id: Uuid,
    state: String,
}

impl From<CorruptRow> for sqlx::Error {
    fn from(corrupt: CorruptRow) -> Self {
        Self::Decode(Box::new(corrupt))
    }
}

/// The name under which a state is stored and shown.
pub const fn state_name(state: &State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::AwaitingStock { .. } => "awaiting_stock",
        State::AwaitingOrder => "awaiting_order",
        State::InProgress { next, .. } => match next {
            NextStep::Authorize => "authorizing",
            NextStep::CheckFraud { .. } => "checking_fraud",
            NextStep::Capture { .. } => "capturing",
            NextStep::VoidDeclined { .. } => "declining",
            NextStep::ResolveAuthorization => "resolving_authorization",
            NextStep::ResolveCapture { .. } => "resolving_capture",
            NextStep::Void { .. } => "voiding",
            NextStep::Refund { .. } => "refunding",
        },
        State::Completed { .. } => "completed",
        State::Declined { .. } => "declined",
        State::Voided { .. } => "voided",
        State::Refunded { .. } => "refunded",
        State::Cancelled => "cancelled",
    }
}

impl PaymentRow {
    pub(super) fn from_job(job: &SagaJob) -> Self {
        let cause = job.cause.as_ref();
        let mut row = Self {
            order_id: job.payment.order_id.0,
            payment_id: job.payment.payment_id.0,
            state: state_name(&job.payment.state).to_owned(),
            last_sequence: job.last_event.sequence,
            last_message_id: job.last_event.message_id,
            due_at: job.due_at,
            lease_id: job.lease_id,
            attempts: job.attempts,
            correlation_id: cause.map(|cause| cause.correlation_id),
            causation_id: cause.and_then(|cause| cause.causation_id),
            user_id: cause.and_then(|cause| cause.user_id.clone()),
            traceparent: cause.and_then(|cause| cause.trace.traceparent.clone()),
            tracestate: cause.and_then(|cause| cause.trace.tracestate.clone()),
            updated_at: job.updated_at,
            ..Self::default()
        };
        row.put_state(&job.payment.state);
        row
    }

    /// When its step is due, with its order: their order is that of the queue.
    pub(super) fn due(&self) -> Option<(DateTime<Utc>, Uuid)> {
        self.due_at.map(|due_at| (due_at, self.order_id))
    }

    fn put_state(&mut self, state: &State) {
        if let Some(charge) = state.charge() {
            self.amount_minor = Some(charge.money.amount_minor);
            self.currency = Some(charge.money.currency.clone());
            self.payment_method = Some(charge.method.token().to_owned());
        }
        match state {
            State::Unknown
            | State::AwaitingStock { .. }
            | State::AwaitingOrder
            | State::Voided { .. }
            | State::Cancelled => {}
            State::InProgress { next, call, .. } => self.put_step(next, *call),
            State::Completed { capture, .. } => self.capture_id = Some(capture.0.clone()),
            State::Declined { reason, .. } => self.decline_reason = Some(reason.clone()),
            State::Refunded { capture, refund_id, refund, .. } => {
                self.capture_id = Some(capture.0.clone());
                self.refund_id = Some(refund_id.0);
                self.refund_transaction_id = Some(refund.0.clone());
            }
        }
    }

    fn put_step(&mut self, next: &NextStep, call: Call) {
        let call = match call {
            Call::Due => "due",
            Call::InDoubt => "in_doubt",
        };
        self.call_state = Some(call.to_owned());
        match next {
            NextStep::Authorize | NextStep::ResolveAuthorization => {}
            NextStep::CheckFraud { authorization }
            | NextStep::Capture { authorization }
            | NextStep::ResolveCapture { authorization } => {
                self.authorization_id = Some(authorization.0.clone());
            }
            NextStep::VoidDeclined { authorization, reason } => {
                self.authorization_id = Some(authorization.0.clone());
                self.decline_reason = Some(reason.clone());
            }
            NextStep::Void { authorization } => {
                self.authorization_id = authorization.as_ref().map(|id| id.0.clone());
            }
            NextStep::Refund { capture } => self.capture_id = Some(capture.0.clone()),
        }
    }

    pub(super) fn into_job(self) -> Result<SagaJob, CorruptRow> {
        let corrupt = || CorruptRow { order_id: self.order_id, state: self.state.clone() };
        let state = self.state().ok_or_else(corrupt)?;
        let payment =
            Payment { order_id: OrderId(self.order_id), payment_id: PaymentId(self.payment_id), state };
        let trace = TraceContext { traceparent: self.traceparent, tracestate: self.tracestate };
        let (causation_id, user_id) = (self.causation_id, self.user_id);
        let cause =
            self.correlation_id.map(|correlation_id| Cause { correlation_id, causation_id, user_id, trace });
        Ok(SagaJob {
            payment,
            last_event: LastEvent { sequence: self.last_sequence, message_id: self.last_message_id },
            due_at: self.due_at,
            lease_id: self.lease_id,
            attempts: self.attempts,
            cause,
            updated_at: self.updated_at,
        })
    }

    /// `None` when a column is missing that the state needs; the table's checks forbid that.
    fn state(&self) -> Option<State> {
        let charge = || {
            Some(Charge {
                money: Money { amount_minor: self.amount_minor?, currency: self.currency.clone()? },
                method: PaymentMethod::new(self.payment_method.clone()?),
            })
        };
        let call = || match self.call_state.as_deref()? {
            "due" => Some(Call::Due),
            "in_doubt" => Some(Call::InDoubt),
            _ => None,
        };
        let authorization = || self.authorization_id.clone().map(TransactionId);
        let capture = || self.capture_id.clone().map(TransactionId);
        let reason = || self.decline_reason.clone();
        let in_progress = |next| Some(State::InProgress { charge: charge()?, next, call: call()? });
        match self.state.as_str() {
            "unknown" => Some(State::Unknown),
            "awaiting_stock" => Some(State::AwaitingStock { charge: charge()? }),
            "awaiting_order" => Some(State::AwaitingOrder),
            "authorizing" => in_progress(NextStep::Authorize),
            "checking_fraud" => in_progress(NextStep::CheckFraud { authorization: authorization()? }),
            "capturing" => in_progress(NextStep::Capture { authorization: authorization()? }),
            "declining" => {
                in_progress(NextStep::VoidDeclined { authorization: authorization()?, reason: reason()? })
            }
            "resolving_authorization" => in_progress(NextStep::ResolveAuthorization),
            "resolving_capture" => in_progress(NextStep::ResolveCapture { authorization: authorization()? }),
            "voiding" => in_progress(NextStep::Void { authorization: authorization() }),
            "refunding" => in_progress(NextStep::Refund { capture: capture()? }),
            "completed" => Some(State::Completed { charge: charge()?, capture: capture()? }),
            "declined" => Some(State::Declined { charge: charge()?, reason: reason()? }),
            "voided" => Some(State::Voided { charge: charge()? }),
            "refunded" => Some(State::Refunded {
                charge: charge()?,
                capture: capture()?,
                refund_id: RefundId(self.refund_id?),
                refund: TransactionId(self.refund_transaction_id.clone()?),
            }),
            "cancelled" => Some(State::Cancelled),
            _ => None,
        }
    }
}
