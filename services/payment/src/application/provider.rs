//! The port to a payment provider.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use service::leases::Contact;

use crate::domain::{Answer, Charge, PaymentId, Report, Step, TransactionId};

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider answered that it did nothing; it may do it later.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// There was no connection: the provider certainly did nothing.
    #[error("the provider is unreachable: {0}")]
    Unreachable(String),
    /// The provider answered with an error, and may have acted.
    #[error("the provider failed: {0}")]
    Failed(String),
    /// No answer came, and the provider may have acted.
    #[error("the provider's answer is unknown: {0}")]
    Unknown(String),
}

pub type CallResult = Result<Answer, CallError>;

impl CallError {
    /// The name in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unreachable(_) => "unreachable",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
        }
    }

    pub const fn contact(&self) -> Contact {
        match self {
            Self::Unavailable(_) | Self::Failed(_) => Contact::Answered,
            Self::Unreachable(_) | Self::Unknown(_) => Contact::NoAnswer,
        }
    }

    /// What is known of the step.
    pub const fn report(&self) -> Report {
        match self {
            Self::Unavailable(_) | Self::Unreachable(_) => Report::Unavailable,
            Self::Failed(_) | Self::Unknown(_) => Report::Unknown,
        }
    }
}

/// One entry of the provider's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    pub step: Step,
    pub answer: Answer,
    pub amount_minor: i64,
    pub currency: String,
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
    async fn authorize(&self, id: PaymentId, charge: &Charge) -> CallResult;

    async fn check_fraud(&self, id: PaymentId, charge: &Charge, authorization: &TransactionId) -> CallResult;

    /// Takes the amount held.
    async fn capture(&self, id: PaymentId, charge: &Charge, authorization: &TransactionId) -> CallResult;

    /// Releases the amount held; without an authorization it only forbids a late one.
    async fn void(&self, id: PaymentId, charge: &Charge, authorization: Option<&TransactionId>)
    -> CallResult;

    /// Gives back the amount taken.
    async fn refund(&self, id: PaymentId, charge: &Charge, capture: &TransactionId) -> CallResult;

    /// The answer to a step; `None` if the provider has no record of it.
    async fn look_up(&self, payment_id: PaymentId, step: Step) -> Result<Option<Answer>, CallError>;

    /// The provider's entries for this payment, in order.
    async fn ledger(&self, payment_id: PaymentId) -> Result<Vec<LedgerEntry>, CallError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_an_answer_is_told_from_one_that_failed_and_both_from_what_was_done() {
        let known = |error: fn(String) -> CallError| {
            let error = error(String::new());
            (error.contact(), error.report())
        };
        assert_eq!(known(CallError::Unavailable), (Contact::Answered, Report::Unavailable));
        assert_eq!(known(CallError::Unreachable), (Contact::NoAnswer, Report::Unavailable));
        assert_eq!(known(CallError::Failed), (Contact::Answered, Report::Unknown));
        assert_eq!(known(CallError::Unknown), (Contact::NoAnswer, Report::Unknown));
    }
}
