//! Crashes with names: each stops a worker at one point of one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use payment::application::perform_steps::SagaSteps;
use payment::application::provider::{CallError, LedgerEntry, Provider};
use payment::application::saga_job::{Leased, Performed};
use payment::domain::{Answer, Charge, PaymentId, Step, TransactionId};
use service::leases::{Contact, LeasedWork};
use tokio::sync::Notify;

/// Where the worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The step is leased; the provider was not called.
    BeforeCall,
    /// The provider has acted; the worker has no answer.
    AfterProviderActed,
    /// The worker has the answer; nothing is stored.
    BeforeAnswerStored,
    /// The answer is stored, and the next step leased; no worker performs it.
    AfterAnswerStored,
}

impl Crash {
    pub(crate) const ALL: [Self; 4] =
        [Self::BeforeCall, Self::AfterProviderActed, Self::BeforeAnswerStored, Self::AfterAnswerStored];
}

/// A crash armed for one step. It strikes once.
#[derive(Debug)]
pub(crate) struct Armed {
    crash: Crash,
    step: Step,
    struck: AtomicBool,
    reached: Notify,
}

impl Armed {
    pub(crate) fn new(crash: Crash, step: Step) -> Arc<Self> {
        Arc::new(Self { crash, step, struck: AtomicBool::new(false), reached: Notify::new() })
    }

    /// Returns once the worker stands where it is to die.
    pub(crate) async fn reached(&self) {
        tokio::time::timeout(crate::stack::WAIT_TIMEOUT, self.reached.notified())
            .await
            .unwrap_or_else(|_| panic!("{:?} of {} was never reached", self.crash, self.step));
    }

    async fn at(&self, crash: Crash, step: Step) {
        if self.crash == crash && self.step == step && !self.struck.swap(true, Ordering::SeqCst) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A provider whose caller dies.
#[derive(Debug)]
pub(crate) struct FaultyProvider(pub(crate) Arc<dyn Provider>, pub(crate) Arc<Armed>);

impl FaultyProvider {
    async fn call(
        &self,
        step: Step,
        call: impl Future<Output = Result<Answer, CallError>>,
    ) -> Result<Answer, CallError> {
        self.1.at(Crash::BeforeCall, step).await;
        let answer = call.await;
        self.1.at(Crash::AfterProviderActed, step).await;
        answer
    }
}

#[async_trait]
impl Provider for FaultyProvider {
    async fn authorize(&self, id: PaymentId, charge: &Charge) -> Result<Answer, CallError> {
        self.call(Step::Authorize, self.0.authorize(id, charge)).await
    }

    async fn check_fraud(
        &self,
        id: PaymentId,
        charge: &Charge,
        authorization: &TransactionId,
    ) -> Result<Answer, CallError> {
        self.call(Step::CheckFraud, self.0.check_fraud(id, charge, authorization)).await
    }

    async fn capture(
        &self,
        id: PaymentId,
        charge: &Charge,
        authorization: &TransactionId,
    ) -> Result<Answer, CallError> {
        self.call(Step::Capture, self.0.capture(id, charge, authorization)).await
    }

    async fn void(
        &self,
        id: PaymentId,
        charge: &Charge,
        authorization: Option<&TransactionId>,
    ) -> Result<Answer, CallError> {
        self.call(Step::Void, self.0.void(id, charge, authorization)).await
    }

    async fn refund(
        &self,
        id: PaymentId,
        charge: &Charge,
        capture: &TransactionId,
    ) -> Result<Answer, CallError> {
        self.call(Step::Refund, self.0.refund(id, charge, capture)).await
    }

    async fn look_up(&self, id: PaymentId, step: Step) -> Result<Option<Answer>, CallError> {
        self.0.look_up(id, step).await
    }

    async fn ledger(&self, id: PaymentId) -> Result<Vec<LedgerEntry>, CallError> {
        self.0.ledger(id).await
    }
}

/// Steps whose worker dies.
#[derive(Debug)]
pub(crate) struct FaultySteps(pub(crate) Arc<SagaSteps>, pub(crate) Arc<Armed>);

#[async_trait]
impl LeasedWork for FaultySteps {
    type Item = Leased;
    type Outcome = Performed;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn table(&self) -> &'static str {
        self.0.table()
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Leased>> {
        self.0.lease(limit).await
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<std::time::Duration>> {
        self.0.next_due_in().await
    }

    async fn perform(self: Arc<Self>, leased: Leased) -> (Contact, Performed) {
        Arc::clone(&self.0).perform(leased).await
    }

    async fn record(&self, performed: &[Performed], go_on: bool) -> anyhow::Result<Vec<Leased>> {
        for performed in performed {
            self.1.at(Crash::BeforeAnswerStored, performed.step).await;
        }
        let next = self.0.record(performed, go_on).await?;
        for performed in performed {
            self.1.at(Crash::AfterAnswerStored, performed.step).await;
        }
        Ok(next)
    }
}
