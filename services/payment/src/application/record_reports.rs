//! What a worker brought back is stored: the row, locked again, decides again, for a cancellation may have come.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::TraceContext;
use uuid::Uuid;

use super::payments::Entry;
use crate::domain::{Answer, OrderId, Payment, PaymentEvent, RefundId, Report, Step, Task};

/// A step that a worker has leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The payment as it stood when the task was taken.
    pub payment: Payment,
    /// What is to be done.
    pub task: Task,
    /// Under which lease.
    pub lease_id: Uuid,
    /// The trace that the step continues.
    pub trace: TraceContext,
}

/// What became of a leased step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performed {
    /// Whose payment.
    pub order_id: OrderId,
    /// Under which lease.
    pub lease_id: Uuid,
    /// Which step.
    pub step: Step,
    /// What was brought back.
    pub report: Report,
}

/// How long leases last, and how long to wait before a step is tried again.
#[derive(Clone, Copy, Debug)]
pub struct LeasePolicy {
    /// A worker that has not returned by then is taken for dead.
    pub lease: TimeDelta,
    /// The first pause; each further one is twice as long.
    pub backoff_initial: TimeDelta,
    /// The longest pause. There is no limit of attempts: money in doubt is never given up.
    pub backoff_max: TimeDelta,
}

/// So many calls without an approval, and the next one waits although there was an answer.
const PATIENCE: i32 = 8;

impl Entry {
    /// A worker takes the step that is due, under this lease. `None` when nothing is due.
    pub fn lease(&mut self, lease_id: Uuid, now: DateTime<Utc>, policy: LeasePolicy) -> Option<Leased> {
        let task = self.payment.due()?;
        let payment = self.payment.clone();
        self.payment.begin_call();
        self.lease_id = Some(lease_id);
        self.due_at = Some(now + policy.lease);
        self.attempts = self.attempts.saturating_add(1);
        self.updated_at = now;
        let trace = self.cause.as_ref().map(|cause| cause.trace.clone()).unwrap_or_default();
        Some(Leased { payment, task, lease_id, trace })
    }

    /// Stores what a worker brought back. Without its lease it changes nothing: somebody else has taken the step over
    /// and finds the answer by its key.
    pub fn record(
        &mut self,
        performed: Performed,
        now: DateTime<Utc>,
        refund_id: RefundId,
        policy: LeasePolicy,
    ) -> Option<PaymentEvent> {
        if self.lease_id != Some(performed.lease_id) {
            return None;
        }
        let answered = match &performed.report {
            Report::Answered(Answer::Approved { .. }) => {
                self.attempts = 0;
                true
            }
            Report::Answered(Answer::Declined { .. }) | Report::Absent => self.attempts < PATIENCE,
            Report::Unavailable | Report::Unknown => false,
        };
        let event = self.payment.report(performed.step, performed.report, refund_id);
        self.lease_id = None;
        self.due_at = self.payment.due().map(|_| if answered { now } else { now + self.pause(policy) });
        self.updated_at = now;
        event
    }

    fn pause(&self, policy: LeasePolicy) -> TimeDelta {
        let doublings = u32::try_from(self.attempts.clamp(1, 16) - 1).unwrap_or(0);
        policy
            .backoff_initial
            .checked_mul(2_i32.pow(doublings))
            .map_or(policy.backoff_max, |pause| pause.min(policy.backoff_max))
    }
}
