//! The saga's worker: leases due steps, performs them at the provider, stores the answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use service::leases::{Contact, Holder, LeasedWork, Room};
use telemetry::spans;
use tracing::Instrument;

use super::provider::{CallError, Provider};
use super::saga_job::{Leased, PAYMENTS, Performed};
use crate::adapters::metrics::{count_call, count_refused_refund};
use crate::adapters::postgres::saga::SagaStore;
use crate::domain::{Answer, NextStep, Payment, Report, State, Step, Task};

/// The steps of all sagas. Any number of workers may perform them, in any number of processes.
#[derive(Debug)]
pub struct SagaSteps {
    pub store: SagaStore,
    pub provider: Arc<dyn Provider>,
    /// The bound of one call.
    pub call_timeout: Duration,
}

#[async_trait]
impl LeasedWork for SagaSteps {
    type Item = Leased;
    type Outcome = Performed;

    fn name(&self) -> &'static str {
        "saga"
    }

    fn table(&self) -> &'static str {
        PAYMENTS
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        self.provider.prepare().await
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Leased>> {
        self.lease_within(&mut Room::of(limit)).await
    }

    async fn lease_within(&self, room: &mut Room) -> anyhow::Result<Vec<Leased>> {
        self.store.lease_within(room).await.context("leasing the due steps of sagas")
    }

    fn holders(&self, leased: &Leased) -> Vec<Holder> {
        leased.holders.clone()
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        self.store.next_due_in().await.context("looking for the next step of a saga")
    }

    async fn perform(self: Arc<Self>, leased: Leased) -> (Contact, Performed) {
        let (payment, task) = (&leased.payment, leased.task);
        let step = task.step();
        let span = spans::step(&step.to_string(), &payment.order_id.0, &leased.trace);
        let call = async move {
            let provider = self.provider.as_ref();
            let (contact, report) = perform(provider, &leased.payment, task, self.call_timeout).await;
            if let (Step::Refund, Report::Answered(Answer::Declined { .. })) = (step, &report) {
                count_refused_refund();
            }
            (contact, leased.performed(report))
        };
        call.instrument(span).await
    }

    async fn record(&self, performed: &[Performed], go_on: bool) -> anyhow::Result<Vec<Leased>> {
        self.store.record(performed, go_on).await.context("recording the answers to steps of sagas")
    }
}

/// Performs `task` at the provider, each call bounded by `timeout`. No transaction is open meanwhile. Gives whether the
/// provider answered, and what is known of the step.
pub async fn perform(
    provider: &dyn Provider,
    payment: &Payment,
    task: Task,
    timeout: Duration,
) -> (Contact, Report) {
    let step = task.step();
    if let Task::LookUpThenAsk(_) | Task::LookUp(_) = task {
        let outcome = |found: &Option<Answer>| if found.is_some() { "found" } else { "absent" };
        match bounded(payment, step, timeout, outcome, provider.look_up(payment.payment_id, step)).await {
            Ok(Some(answer)) => return (Contact::Answered, Report::Answered(answer)),
            Ok(None) => {}
            Err(error) => return (error.contact(), Report::Unknown),
        }
    }
    match task {
        Task::LookUp(_) => (Contact::Answered, Report::Absent),
        Task::Ask(_) => match ask(provider, payment, step, timeout).await {
            Ok(answer) => (Contact::Answered, Report::Answered(answer)),
            Err(error) => (error.contact(), error.report()),
        },
        // An earlier call may still be in flight, so that nothing but an answer ends the doubt.
        Task::LookUpThenAsk(_) => {
            let answer = ask(provider, payment, step, timeout).await;
            (Contact::Answered, answer.map_or(Report::Unknown, Report::Answered))
        }
    }
}

async fn ask(
    provider: &dyn Provider,
    payment: &Payment,
    step: Step,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let id = payment.payment_id;
    let State::InProgress { charge, next, .. } = &payment.state else { return Err(nothing_to_ask(step)) };
    let call = match next {
        NextStep::Authorize => provider.authorize(id, charge),
        NextStep::CheckFraud { authorization } => provider.check_fraud(id, charge, authorization),
        NextStep::Capture { authorization } => provider.capture(id, charge, authorization),
        NextStep::VoidDeclined { authorization, .. } => provider.void(id, charge, Some(authorization)),
        NextStep::Void { authorization } => provider.void(id, charge, authorization.as_ref()),
        NextStep::Refund { capture } => provider.refund(id, charge, capture),
        NextStep::ResolveAuthorization | NextStep::ResolveCapture { .. } => return Err(nothing_to_ask(step)),
    };
    bounded(payment, step, timeout, Answer::name, call).await
}

fn nothing_to_ask(step: Step) -> CallError {
    CallError::Unavailable(format!("the payment's state has no {step} to ask for"))
}

async fn bounded<T>(
    payment: &Payment,
    step: Step,
    timeout: Duration,
    outcome: impl FnOnce(&T) -> &'static str,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let answer = tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(|_| Err(CallError::Unknown(format!("no answer within {timeout:?}"))));
    count_call(step, answer.as_ref().map_or_else(CallError::name, outcome));
    if let Err(error) = &answer {
        tracing::warn!(order_id = %payment.order_id.0, payment_id = %payment.payment_id.0, %step, %error, "provider call without an answer; the step is resolved by its key");
    }
    answer
}
