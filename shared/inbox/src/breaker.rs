//! The circuit breaker of each partition: a release that fails with every event of a type does not turn the topic into dead
//! letters (docs/adr/0016).
//!
//! Invariant: of events of one type that fail in succession for one cause, [`LIMIT`] become dead letters; each further one
//! needs a pause of its partition. The dead letters that a transaction writes count once it has committed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backoff::Backoff;
use messaging::TopicPartition;

use crate::error_policy::Rejection;

/// So many failures in succession may be the events' own fault. Each is of another key: later events of a key with a dead
/// letter wait behind it, and do not count.
const LIMIT: u32 = 20;
const PAUSES: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_mins(5));

/// The failures in succession of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Run {
    cause: String,
    events: u32,
}

/// The runs of failures of a partition, by event type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    of_type: BTreeMap<String, Run>,
    /// Whether a dead letter beyond the limit may be written: a pause has passed since the last one.
    is_permitted: bool,
}

/// A partition that stops: the events of this type fail for this reason, [`LIMIT`] of them or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    event_type: String,
    cause: String,
    events: u32,
}

impl Runs {
    /// An event of this type can be applied.
    pub(crate) fn applied(&mut self, event_type: &str) {
        self.of_type.remove(event_type);
    }

    /// An event of this type is rejected.
    ///
    /// # Errors
    /// When it is one too many: it becomes no dead letter yet.
    pub(crate) fn rejected(&mut self, event_type: &str, rejection: &Rejection) -> Result<(), Open> {
        let Some(cause) = rejection.cause() else { return Ok(()) };
        let run = self.of_type.entry(event_type.to_owned()).or_default();
        if run.cause != cause {
            *run = Run { cause, events: 0 };
        }
        if run.events >= LIMIT && !std::mem::take(&mut self.is_permitted) {
            let Run { cause, events } = run.clone();
            return Err(Open { event_type: event_type.to_owned(), cause, events });
        }
        run.events += 1;
        Ok(())
    }
}

impl Open {
    /// How long the partition stands still: longer with each event that fails behind a pause.
    pub(crate) fn pause(&self, random: f64) -> Duration {
        PAUSES.jittered(self.events - LIMIT + 1, random)
    }
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { event_type, cause, events } = self;
        write!(
            f,
            "repeated failure: the last {events} events of type {event_type} failed with {cause}; the partition tries one \
             event after each pause, and continues once it is applied: fix the release or the database"
        )
    }
}

/// The runs of failures of all partitions of a consumer, as of their last transactions.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    partitions: Mutex<BTreeMap<TopicPartition, Runs>>,
}

impl Breaker {
    pub(crate) fn runs(&self, partition: &TopicPartition) -> Runs {
        self.lock().get(partition).cloned().unwrap_or_default()
    }

    /// A transaction has committed, behind which the runs are these.
    pub(crate) fn committed(&self, partition: &TopicPartition, runs: Runs) {
        self.lock().insert(partition.clone(), Runs { is_permitted: false, ..runs });
    }

    /// A pause has passed: the next transaction of the partition may write one dead letter beyond the limit.
    pub(crate) fn permit(&self, partition: &TopicPartition) {
        self.lock().entry(partition.clone()).or_default().is_permitted = true;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Runs>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "example.parcels.ParcelSent";
    const LOST: &str = "example.parcels.ParcelLost";

    fn panicked() -> Rejection {
        Rejection::new("handler_panicked", "index out of bounds")
    }

    fn partition() -> TopicPartition {
        TopicPartition { topic: "example.parcels".to_owned(), partition: 3 }
    }

    fn runs_of(events: u32) -> Runs {
        let mut runs = Runs::default();
        (0..events).for_each(|_| runs.rejected(SENT, &panicked()).unwrap());
        runs
    }

    #[test]
    fn a_run_of_failures_opens_the_breaker_and_an_applied_event_of_the_type_closes_it() {
        let mut runs = runs_of(LIMIT);
        runs.applied(LOST);
        let open = runs.rejected(SENT, &panicked()).unwrap_err();
        assert!(open.to_string().contains("handler_panicked"), "{open}");
        runs.rejected(LOST, &panicked()).unwrap();
        runs.applied(SENT);
        runs.rejected(SENT, &panicked()).unwrap();
    }

    #[test]
    fn another_cause_begins_another_run() {
        let sqlstate = |code: &str| Rejection::new("data_error", format!("SQLSTATE {code}: refused"));
        let mut runs = runs_of(LIMIT);
        (0..LIMIT).for_each(|_| runs.rejected(SENT, &sqlstate("22001")).unwrap());
        runs.rejected(SENT, &sqlstate("22003")).unwrap();
        (0..LIMIT).for_each(|_| runs.rejected(SENT, &sqlstate("22001")).unwrap());
        let open = runs.rejected(SENT, &sqlstate("22001")).unwrap_err();
        assert!(open.to_string().contains("SQLSTATE 22001"), "{open}");
    }

    #[test]
    fn what_the_domain_rejects_is_the_events_own_fault() {
        let mut runs = Runs::default();
        (0..9 * LIMIT).for_each(|_| runs.rejected(SENT, &Rejection::new("unexpected_event", "")).unwrap());
    }

    #[test]
    fn a_pause_permits_one_failure_and_pauses_grow() {
        let breaker = Breaker::default();
        breaker.committed(&partition(), runs_of(LIMIT));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pauses.push(
                breaker.runs(&partition()).rejected(SENT, &panicked()).unwrap_err().pause(1.0).as_secs(),
            );
            breaker.permit(&partition());
            let mut runs = breaker.runs(&partition());
            runs.rejected(SENT, &panicked()).unwrap();
            runs.rejected(SENT, &panicked()).unwrap_err();
            breaker.committed(&partition(), runs);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
    }
}
