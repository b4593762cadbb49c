//! What can go wrong between a producer and a broker, as types with names.

use crate::publishing::{Record, Refusal};

/// What happens to a record instead of being appended and acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker objects to it.
    Refuse(Refusal),
    /// It is on the topic, but its acknowledgement is lost.
    LoseAcknowledgement,
    /// It is not on the topic, and the producer gets no answer: the request timed out.
    TimeOut,
    /// No acknowledgement; it lands on the topic once so many later records of any producer are there, as a request
    /// does that lingered in the network or in the broker.
    LandLate {
        /// How many records overtake it.
        behind: usize,
    },
}

/// A fault, the records that it meets, and how often.
pub struct FaultRule {
    fault: Fault,
    remaining: Option<usize>,
    matches: Box<dyn Fn(&Record) -> bool + Send + Sync>,
}

impl FaultRule {
    /// `fault` happens to every record that `matches`.
    #[must_use]
    pub fn always(fault: Fault, matches: impl Fn(&Record) -> bool + Send + Sync + 'static) -> Self {
        Self { fault, remaining: None, matches: Box::new(matches) }
    }

    /// `fault` happens to the first `times` records that match.
    #[must_use]
    pub fn times(
        times: usize,
        fault: Fault,
        matches: impl Fn(&Record) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { fault, remaining: Some(times), matches: Box::new(matches) }
    }

    fn apply(&mut self, record: &Record) -> Option<Fault> {
        if self.remaining == Some(0) || !(self.matches)(record) {
            return None;
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        Some(self.fault)
    }
}

impl std::fmt::Debug for FaultRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultRule")
            .field("fault", &self.fault)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// The fault that meets this record, if any.
pub(crate) fn fault_for(rules: &mut [FaultRule], record: &Record) -> Option<Fault> {
    rules.iter_mut().find_map(|rule| rule.apply(record))
}

/// A record on its way that others overtake.
pub(crate) struct Late {
    pub(crate) behind: usize,
    pub(crate) record: Record,
    pub(crate) partition: Option<i32>,
}
