//! A payment's state flattened into columns and read back from them.

use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};
use serde::Serialize;
use uuid::Uuid;

use crate::application::Entry;
use crate::domain::{
    Call, Charge, Charging, Money, OrderId, Payment, PaymentId, PaymentMethod, RefundId, State,
    TransactionId, Undo,
};

/// One row of `payments`, its columns by name.
#[derive(Clone, Default, Serialize, sqlx_macros::FromRow)]
pub(super) struct PaymentRow {
    order_id: Uuid,
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
    last_message_id: Option<i64>,
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

/// The name under which a state is stored and shown.
#[must_use]
pub const fn state_name(state: &State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::AwaitingStock { .. } => "awaiting_stock",
        State::AwaitingOrder => "awaiting_order",
        State::Charging { step, .. } => match step {
            Charging::Authorizing => "authorizing",
            Charging::CheckingFraud { .. } => "checking_fraud",
            Charging::Capturing { .. } => "capturing",
        },
        State::Completed { .. } => "completed",
        State::Declining { .. } => "declining",
        State::Declined { .. } => "declined",
        State::Cancelling { undo, .. } => match undo {
            Undo::ResolvingAuthorization => "resolving_authorization",
            Undo::ResolvingCapture { .. } => "resolving_capture",
            Undo::Voiding { .. } => "voiding",
            Undo::Refunding { .. } => "refunding",
        },
        State::Voided { .. } => "voided",
        State::Refunded { .. } => "refunded",
        State::Cancelled => "cancelled",
    }
}

impl PaymentRow {
    pub(super) fn from_entry(entry: &Entry) -> Self {
        let cause = entry.cause.as_ref();
        let mut row = Self {
            order_id: entry.payment.order_id.0,
            payment_id: entry.payment.payment_id.0,
            state: state_name(&entry.payment.state).to_owned(),
            last_sequence: entry.last_sequence,
            last_message_id: entry.last_message_id,
            due_at: entry.due_at,
            lease_id: entry.lease_id,
            attempts: entry.attempts,
            correlation_id: cause.map(|cause| cause.correlation_id),
            causation_id: cause.and_then(|cause| cause.causation_id),
            user_id: cause.and_then(|cause| cause.user_id.clone()),
            traceparent: cause.and_then(|cause| cause.trace.traceparent.clone()),
            tracestate: cause.and_then(|cause| cause.trace.tracestate.clone()),
            updated_at: entry.updated_at,
            ..Self::default()
        };
        row.put_state(&entry.payment.state);
        row
    }

    fn put_state(&mut self, state: &State) {
        let id = |id: &TransactionId| Some(id.0.clone());
        match state {
            State::Unknown | State::AwaitingOrder | State::Cancelled => {}
            State::AwaitingStock { charge } | State::Voided { charge } => self.put_charge(charge),
            State::Charging { charge, step, call } => {
                self.put_charge(charge);
                self.put_call(*call);
                match step {
                    Charging::Authorizing => {}
                    Charging::CheckingFraud { authorization } | Charging::Capturing { authorization } => {
                        self.authorization_id = id(authorization);
                    }
                }
            }
            State::Completed { charge, capture } => {
                self.put_charge(charge);
                self.capture_id = id(capture);
            }
            State::Declining { charge, authorization, reason, call } => {
                self.put_charge(charge);
                self.put_call(*call);
                self.authorization_id = id(authorization);
                self.decline_reason = Some(reason.clone());
            }
            State::Declined { charge, reason } => {
                self.put_charge(charge);
                self.decline_reason = Some(reason.clone());
            }
            State::Cancelling { charge, undo, call } => {
                self.put_charge(charge);
                self.put_call(*call);
                match undo {
                    Undo::ResolvingAuthorization => {}
                    Undo::ResolvingCapture { authorization } => self.authorization_id = id(authorization),
                    Undo::Voiding { authorization } => {
                        self.authorization_id = authorization.as_ref().and_then(id);
                    }
                    Undo::Refunding { capture } => self.capture_id = id(capture),
                }
            }
            State::Refunded { charge, capture, refund_id, refund } => {
                self.put_charge(charge);
                self.capture_id = id(capture);
                self.refund_id = Some(refund_id.0);
                self.refund_transaction_id = id(refund);
            }
        }
    }

    fn put_charge(&mut self, charge: &Charge) {
        self.amount_minor = Some(charge.money.amount_minor);
        self.currency = Some(charge.money.currency.clone());
        self.payment_method = Some(charge.method.token().to_owned());
    }

    fn put_call(&mut self, call: Call) {
        self.call_state = Some(
            match call {
                Call::Due => "due",
                Call::InDoubt => "in_doubt",
            }
            .to_owned(),
        );
    }

    pub(super) fn into_entry(self) -> Result<Entry, sqlx::Error> {
        let state = self.state().ok_or_else(|| {
            sqlx::Error::Decode(
                format!("the row of order {} is no valid payment in state {:?}", self.order_id, self.state)
                    .into(),
            )
        })?;
        let payment =
            Payment { order_id: OrderId(self.order_id), payment_id: PaymentId(self.payment_id), state };
        let trace = TraceContext { traceparent: self.traceparent, tracestate: self.tracestate };
        let (causation_id, user_id) = (self.causation_id, self.user_id);
        let cause =
            self.correlation_id.map(|correlation_id| Cause { correlation_id, causation_id, user_id, trace });
        Ok(Entry {
            payment,
            last_sequence: self.last_sequence,
            last_message_id: self.last_message_id,
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
        let charging = |step| Some(State::Charging { charge: charge()?, step, call: call()? });
        let cancelling = |undo| Some(State::Cancelling { charge: charge()?, undo, call: call()? });
        match self.state.as_str() {
            "unknown" => Some(State::Unknown),
            "awaiting_stock" => Some(State::AwaitingStock { charge: charge()? }),
            "awaiting_order" => Some(State::AwaitingOrder),
            "authorizing" => charging(Charging::Authorizing),
            "checking_fraud" => charging(Charging::CheckingFraud { authorization: authorization()? }),
            "capturing" => charging(Charging::Capturing { authorization: authorization()? }),
            "completed" => Some(State::Completed { charge: charge()?, capture: capture()? }),
            "declining" => Some(State::Declining {
                charge: charge()?,
                authorization: authorization()?,
                reason: reason()?,
                call: call()?,
            }),
            "declined" => Some(State::Declined { charge: charge()?, reason: reason()? }),
            "resolving_authorization" => cancelling(Undo::ResolvingAuthorization),
            "resolving_capture" => cancelling(Undo::ResolvingCapture { authorization: authorization()? }),
            "voiding" => cancelling(Undo::Voiding { authorization: authorization() }),
            "refunding" => cancelling(Undo::Refunding { capture: capture()? }),
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
