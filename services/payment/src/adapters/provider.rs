//! The built-in payment provider: deterministic by payment-method token, with a ledger in the PostgreSQL schema
//! `provider`, on its own connections, as a foreign system would have them.

mod behaviour;
mod ledger;

use std::time::Duration;

use async_trait::async_trait;
use contracts::clock::{new_id, now};
use database::Database;

use crate::application::provider::{CallError, CallResult, LedgerEntry, Provider};
use crate::domain::{Answer, Charge, PaymentId, Step, TransactionId};
use behaviour::{Behaviour, Speed, behaviour};
pub use ledger::migrate;
use ledger::{Ledger, Request};

/// The delays of the slow tokens.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// `tok_slow`: late, but within the time-out.
    pub slow: Duration,
    /// `tok_timeout`: after the time-out.
    pub too_late: Duration,
}

#[derive(Clone, Debug)]
pub struct BuiltInProvider {
    ledger: Ledger,
    delays: Delays,
}

impl BuiltInProvider {
    /// A provider with its ledger in `database`.
    pub const fn new(database: Database, delays: Delays) -> Self {
        Self { ledger: Ledger::new(database), delays }
    }

    async fn act(&self, step: Step, payment_id: PaymentId, charge: &Charge) -> CallResult {
        let Behaviour { refuses, interruptions, speed } = behaviour(charge.method.token(), step);
        if interruptions > 0 && self.ledger.interrupt(payment_id, step).await? <= interruptions {
            return Err(CallError::Unavailable("try again later".to_owned()));
        }
        let request = Request {
            payment_id,
            step,
            refuses,
            transaction_id: format!("{step}_{}", new_id().simple()),
            amount_minor: charge.money.amount_minor,
            currency: &charge.money.currency,
            now: now(),
        };
        let answer = self.ledger.act(&request).await?;
        match speed {
            Speed::AtOnce => {}
            Speed::Slow => tokio::time::sleep(self.delays.slow).await,
            Speed::TooLate => tokio::time::sleep(self.delays.too_late).await,
        }
        Ok(answer)
    }
}

#[async_trait]
impl Provider for BuiltInProvider {
    async fn prepare(&self) -> anyhow::Result<()> {
        Ok(migrate(self.ledger.database()).await?)
    }

    async fn authorize(&self, id: PaymentId, charge: &Charge) -> CallResult {
        self.act(Step::Authorize, id, charge).await
    }

    async fn check_fraud(&self, id: PaymentId, charge: &Charge, _: &TransactionId) -> CallResult {
        self.act(Step::CheckFraud, id, charge).await
    }

    async fn capture(&self, id: PaymentId, charge: &Charge, _: &TransactionId) -> CallResult {
        self.act(Step::Capture, id, charge).await
    }

    async fn void(&self, id: PaymentId, charge: &Charge, _: Option<&TransactionId>) -> CallResult {
        self.act(Step::Void, id, charge).await
    }

    async fn refund(&self, id: PaymentId, charge: &Charge, _: &TransactionId) -> CallResult {
        self.act(Step::Refund, id, charge).await
    }

    async fn look_up(&self, payment_id: PaymentId, step: Step) -> Result<Option<Answer>, CallError> {
        self.ledger.look_up(payment_id, step).await
    }

    async fn ledger(&self, payment_id: PaymentId) -> Result<Vec<LedgerEntry>, CallError> {
        self.ledger.entries(payment_id).await
    }
}
