//! The port to whoever moves the money, and how a task becomes calls there.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use service::leases::Contact;

use crate::domain::{
    Answer, Charge, Charging, Payment, PaymentId, Report, State, Step, Task, TransactionId, Undo,
};

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider answered that it did nothing: later, perhaps.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// Nobody answered, and the provider certainly did nothing.
    #[error("the provider is not reached: {0}")]
    Unreachable(String),
    /// The provider answered with an error, and may have acted.
    #[error("the provider failed: {0}")]
    Failed(String),
    /// Nobody answered, and the provider may have acted.
    #[error("the provider's answer is unknown: {0}")]
    Unknown(String),
}

impl CallError {
    /// Whether anybody answered.
    #[must_use]
    pub const fn contact(&self) -> Contact {
        match self {
            Self::Unavailable(_) | Self::Failed(_) => Contact::Answered,
            Self::Unreachable(_) | Self::Unknown(_) => Contact::NoAnswer,
        }
    }
}

/// One line of the provider's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What was asked for.
    pub step: Step,
    /// What was answered.
    pub answer: Answer,
    /// The amount in minor units.
    pub amount_minor: i64,
    /// The amount's currency.
    pub currency: String,
    /// When.
    pub recorded_at: DateTime<Utc>,
}

/// A payment provider. It acts at most once per (payment, step) and answers a repeated call as it did the first one.
///
/// Two promises keep late calls harmless: a void forbids every later authorization and capture of its payment, also
/// when it arrives before them; and it is declined only while something is captured, and never remembered as declined.
#[async_trait]
pub trait Provider: Debug + Send + Sync {
    /// Called once before the first step: sets up or checks what the provider needs.
    async fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Holds the amount.
    async fn authorize(&self, payment_id: PaymentId, charge: &Charge) -> Result<Answer, CallError>;

    /// Judges the payment.
    async fn check_fraud(
        &self,
        payment_id: PaymentId,
        charge: &Charge,
        authorization: &TransactionId,
    ) -> Result<Answer, CallError>;

    /// Takes the amount held.
    async fn capture(
        &self,
        payment_id: PaymentId,
        charge: &Charge,
        authorization: &TransactionId,
    ) -> Result<Answer, CallError>;

    /// Lets go of the amount held; without an authorization it only forbids a late one.
    async fn void(
        &self,
        payment_id: PaymentId,
        charge: &Charge,
        authorization: Option<&TransactionId>,
    ) -> Result<Answer, CallError>;

    /// Gives back the amount taken.
    async fn refund(
        &self,
        payment_id: PaymentId,
        charge: &Charge,
        capture: &TransactionId,
    ) -> Result<Answer, CallError>;

    /// What became of a step; `None` if the provider never saw it.
    async fn look_up(&self, payment_id: PaymentId, step: Step) -> Result<Option<Answer>, CallError>;

    /// All that the provider has in its books for this payment, in order.
    async fn ledger(&self, payment_id: PaymentId) -> Result<Vec<LedgerEntry>, CallError>;
}

/// Does `task` at the provider, each call bounded by `timeout`. No transaction is open meanwhile. Tells whether the provider
/// answered, and what is known of the step.
pub async fn perform(
    provider: &dyn Provider,
    payment: &Payment,
    task: Task,
    timeout: Duration,
) -> (Contact, Report) {
    match task {
        Task::Ask(step) => match ask(provider, payment, step, timeout).await {
            Ok(answer) => (Contact::Answered, Report::Answered(answer)),
            Err(error) => (error.contact(), after(&error)),
        },
        Task::LookUp(step) => match look_up(provider, payment, step, timeout).await {
            Ok(Some(answer)) => (Contact::Answered, Report::Answered(answer)),
            Ok(None) => (Contact::Answered, Report::Absent),
            Err(error) => (error.contact(), Report::Unknown),
        },
        // An earlier call may still be under way, so that nothing but an answer ends the doubt.
        Task::LookUpThenAsk(step) => match look_up(provider, payment, step, timeout).await {
            Ok(Some(answer)) => (Contact::Answered, Report::Answered(answer)),
            Ok(None) => {
                let answer = ask(provider, payment, step, timeout).await;
                (Contact::Answered, answer.map_or(Report::Unknown, Report::Answered))
            }
            Err(error) => (error.contact(), Report::Unknown),
        },
    }
}

const fn after(error: &CallError) -> Report {
    match error {
        CallError::Unavailable(_) | CallError::Unreachable(_) => Report::Unavailable,
        CallError::Failed(_) | CallError::Unknown(_) => Report::Unknown,
    }
}

async fn look_up(
    provider: &dyn Provider,
    payment: &Payment,
    step: Step,
    timeout: Duration,
) -> Result<Option<Answer>, CallError> {
    bounded(payment, step, timeout, provider.look_up(payment.payment_id, step)).await
}

async fn ask(
    provider: &dyn Provider,
    payment: &Payment,
    step: Step,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let id = payment.payment_id;
    let call = match &payment.state {
        State::Charging { charge, step, .. } => match step {
            Charging::Authorizing => provider.authorize(id, charge),
            Charging::CheckingFraud { authorization } => provider.check_fraud(id, charge, authorization),
            Charging::Capturing { authorization } => provider.capture(id, charge, authorization),
        },
        State::Declining { charge, authorization, .. } => provider.void(id, charge, Some(authorization)),
        State::Cancelling { charge, undo, .. } => match undo {
            Undo::Voiding { authorization } => provider.void(id, charge, authorization.as_ref()),
            Undo::Refunding { capture } => provider.refund(id, charge, capture),
            Undo::ResolvingAuthorization | Undo::ResolvingCapture { .. } => return Err(nothing_to_ask(step)),
        },
        State::Unknown
        | State::AwaitingStock { .. }
        | State::AwaitingOrder
        | State::Completed { .. }
        | State::Declined { .. }
        | State::Voided { .. }
        | State::Refunded { .. }
        | State::Cancelled => return Err(nothing_to_ask(step)),
    };
    bounded(payment, step, timeout, call).await
}

fn nothing_to_ask(step: Step) -> CallError {
    CallError::Unavailable(format!("the payment's state has no {step} to ask for"))
}

async fn bounded<T>(
    payment: &Payment,
    step: Step,
    timeout: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let answer = match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::Unknown(format!("no answer within {timeout:?}"))),
    };
    if let Err(error) = &answer {
        tracing::warn!(order_id = %payment.order_id.0, payment_id = %payment.payment_id.0, %step, %error, "a step brought no answer; it will be resolved by its key");
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_an_answer_is_told_from_one_that_failed_and_both_from_what_was_done() {
        let told = |error: fn(String) -> CallError| {
            let error = error(String::new());
            (error.contact(), after(&error))
        };
        assert_eq!(told(CallError::Unavailable), (Contact::Answered, Report::Unavailable));
        assert_eq!(told(CallError::Unreachable), (Contact::NoAnswer, Report::Unavailable));
        assert_eq!(told(CallError::Failed), (Contact::Answered, Report::Unknown));
        assert_eq!(told(CallError::Unknown), (Contact::NoAnswer, Report::Unknown));
    }
}
