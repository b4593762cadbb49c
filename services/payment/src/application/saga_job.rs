//! The job that performs one order's saga: when its next step is due, and under which lease a worker performs it.
//!
//! Three writers meet in its row, which each of them locks: events of the order, a worker that leases the step, and a
//! worker that brings back an answer. An answer counts only under the lease that is still stored. Without it the step
//! was taken over, and whoever took it over finds the answer by its key.
//!
//! Invariant: an event that changes a payment sets `attempts` to 0, and a lease to 1 or more. So a row with the lease and the
//! attempts of a worker is as that worker has leased it, and its answer is stored by one statement (docs/adr/0033).

use std::fmt;
use std::time::Duration;

use backoff::Backoff;
use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};
use events::LastEvent;
use service::leases::Holder;
use uuid::Uuid;

use crate::domain::{Answer, OrderId, Payment, PaymentEvent, RefundId, Refusal, Report, Step, Task};

/// After so many calls without an approval, the next one waits although the provider answered.
const CALLS_WITHOUT_PAUSE: i32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaJob {
    pub payment: Payment,
    /// The last event under this order's key.
    pub last_event: LastEvent,
    /// When a worker may take the next step; none while nothing is due. While leased, the lease's end.
    pub due_at: Option<DateTime<Utc>>,
    pub lease_id: Option<Uuid>,
    /// Calls since the provider last approved something.
    pub attempts: i32,
    /// The event that led to the present state.
    pub cause: Option<Cause>,
    pub updated_at: DateTime<Utc>,
}

/// A step that a worker has leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// As it stood when the step was leased.
    pub payment: Payment,
    pub task: Task,
    pub lease_id: Uuid,
    /// The trace that the step continues.
    pub trace: TraceContext,
    /// Who holds the worker's place meanwhile.
    pub holders: Vec<Holder>,
    /// The job as it is stored under the lease.
    pub job: SagaJob,
}

/// The table of the payments and their steps.
pub(crate) const PAYMENTS: &str = "payments";

/// A leased step that was performed.
#[derive(Clone, PartialEq, Eq)]
pub struct Performed {
    pub order_id: OrderId,
    pub lease_id: Uuid,
    pub step: Step,
    pub report: Report,
    /// The job as it was stored under the lease.
    pub job: SagaJob,
}

impl Leased {
    /// The step, performed.
    pub fn performed(self, report: Report) -> Performed {
        let (order_id, step) = (self.payment.order_id, self.task.step());
        Performed { order_id, lease_id: self.lease_id, step, report, job: self.job }
    }
}

/// Without the customer.
impl fmt::Debug for Performed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order_id, lease_id, step, report, job: _ } = self;
        f.debug_struct("Performed")
            .field("order_id", order_id)
            .field("lease_id", lease_id)
            .field("step", step)
            .field("report", report)
            .finish_non_exhaustive()
    }
}

/// The lease under which a step was performed is no longer stored.
#[derive(Clone, Copy, Debug)]
pub struct LeaseEnded;

#[derive(Clone, Copy, Debug)]
pub struct LeasePolicy {
    /// A worker that has not returned by then is considered dead.
    pub lease: Duration,
    /// The pauses before a step is retried. Attempts have no limit: money in doubt is never given up.
    pub backoff: Backoff,
}

impl SagaJob {
    /// Lets an event change the payment. A step that becomes due is due at once, unless a worker holds the lease: then it
    /// follows when that worker returns, or when the lease ends.
    pub fn apply(
        &mut self,
        cause: Cause,
        now: DateTime<Utc>,
        event: impl FnOnce(&mut Payment) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let before = self.payment.clone();
        event(&mut self.payment)?;
        if self.payment == before {
            return Ok(());
        }
        if self.payment.due().is_none() {
            self.due_at = None;
            self.lease_id = None;
        } else if self.lease_id.is_none() {
            self.due_at = Some(now);
        }
        self.attempts = 0;
        self.cause = Some(cause);
        self.updated_at = now;
        Ok(())
    }

    /// Leases the step that is due. `None` when nothing is due.
    pub fn lease(&mut self, lease_id: Uuid, now: DateTime<Utc>, policy: LeasePolicy) -> Option<Leased> {
        let task = self.payment.due()?;
        let (payment, holders) = (self.payment.clone(), self.holders());
        self.payment.begin_call();
        self.lease_id = Some(lease_id);
        self.due_at = Some(now + policy.lease);
        self.attempts = self.attempts.saturating_add(1);
        self.updated_at = now;
        let trace = self.cause.as_ref().map(|cause| cause.trace.clone()).unwrap_or_default();
        Some(Leased { payment, task, lease_id, trace, holders, job: self.clone() })
    }

    /// Leases the step that follows at once, if one does.
    pub fn lease_next(&mut self, lease_id: Uuid, now: DateTime<Utc>, policy: LeasePolicy) -> Option<Leased> {
        if self.lease_id.is_none() && self.due_at.is_some_and(|due_at| due_at <= now) {
            return self.lease(lease_id, now, policy);
        }
        None
    }

    /// Applies what a worker brought back, unless its lease has ended.
    pub fn record(
        &mut self,
        performed: Performed,
        now: DateTime<Utc>,
        refund_id: RefundId,
        policy: LeasePolicy,
    ) -> Result<Option<PaymentEvent>, LeaseEnded> {
        if self.lease_id != Some(performed.lease_id) {
            return Err(LeaseEnded);
        }
        let goes_on = match &performed.report {
            Report::Answered(Answer::Approved { .. }) => {
                self.attempts = 0;
                true
            }
            Report::Answered(Answer::Declined { .. }) | Report::Absent => self.attempts < CALLS_WITHOUT_PAUSE,
            Report::Unavailable | Report::Unknown => false,
        };
        let event = self.payment.report(performed.step, performed.report, refund_id);
        let failures = u32::try_from(self.attempts).unwrap_or(0);
        let next_at = if goes_on { now } else { now + policy.backoff.pause(failures) };
        self.lease_id = None;
        self.due_at = self.payment.due().map(|_| next_at);
        self.updated_at = now;
        Ok(event)
    }
}
