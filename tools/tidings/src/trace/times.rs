//! Where a trace's time went: how much of it something waited or a transaction was open.

use serde::Serialize;

use embedded::otlp::jaeger::Trace;

use super::tree::{Tree, from_micros, offset_ms};

/// The attribute that names a database's kind, and ours.
const SYSTEM: &str = "db.system.name";
const DATABASE: &str = "postgresql";

/// Milliseconds of a trace. What happens at the same time in two branches counts once; waiting in the outbox,
/// waiting on the topic and transactions may overlap each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// From the first span's beginning to the last one's end.
    pub total_ms: f64,
    /// Some event waited in an outbox.
    pub outbox_ms: f64,
    /// Some event waited on a topic.
    pub topic_ms: f64,
    /// Some transaction was open.
    pub transaction_ms: f64,
}

/// From and to, in milliseconds since the trace's beginning.
type Interval = (f64, f64);

impl Times {
    /// The times of a trace. Transactions of batches are in the traces that it links to.
    pub(super) fn of(tree: &Tree, linked: &[Trace]) -> Self {
        let spans = &tree.spans;
        let total_ms = spans.iter().map(|span| span.offset_ms + span.duration_ms).fold(0.0, f64::max);
        let before = |offset: f64, wait: f64| (offset - wait, offset);
        let outbox = spans.iter().filter_map(|span| Some(before(span.offset_ms, span.outbox_wait_ms?)));
        let topic = spans.iter().filter_map(|span| Some(before(span.offset_ms, span.topic_wait_ms?)));
        let own = spans
            .iter()
            .filter(|span| span.attributes.get(SYSTEM).is_some_and(|system| system == DATABASE))
            .map(|span| (span.offset_ms, span.duration_ms));
        let of_batches = linked
            .iter()
            .flat_map(|trace| &trace.spans)
            .filter(|span| span.tag(SYSTEM).is_some_and(|system| system == DATABASE))
            .map(|span| (offset_ms(span, tree.begin), from_micros(span.duration)));
        let transactions = own.chain(of_batches).map(|(offset, duration)| (offset, offset + duration));
        Self {
            total_ms,
            outbox_ms: covered(outbox.collect(), total_ms),
            topic_ms: covered(topic.collect(), total_ms),
            transaction_ms: covered(transactions.collect(), total_ms),
        }
    }

    /// A part of the total in per cent.
    pub(super) fn share(&self, part_ms: f64) -> f64 {
        if self.total_ms > 0.0 { 100.0 * part_ms / self.total_ms } else { 0.0 }
    }
}

/// How much of the time from the trace's beginning to its end lies in at least one of the intervals.
fn covered(mut intervals: Vec<Interval>, total_ms: f64) -> f64 {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut reached = 0.0_f64;
    let mut sum = 0.0;
    for (from, to) in intervals {
        let to = to.min(total_ms);
        sum += (to - from.max(reached)).max(0.0);
        reached = reached.max(to);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_two_branches_spend_at_once_counts_once() {
        let close = |seen: f64, expected: f64| (seen - expected).abs() < 1e-9;
        assert!(close(covered(vec![], 20.0), 0.0));
        assert!(close(covered(vec![(5.0, 7.0), (1.0, 2.0)], 20.0), 3.0));
        assert!(close(covered(vec![(1.0, 9.0), (2.0, 3.0), (8.0, 10.0)], 20.0), 9.0));
        assert!(close(covered(vec![(-4.0, 1.0), (18.0, 30.0)], 20.0), 3.0), "the trace's time alone counts");
    }

    #[test]
    fn shares_are_of_the_total_and_an_empty_trace_has_none() {
        let times = Times { total_ms: 200.0, ..Times::default() };
        assert!((times.share(50.0) - 25.0).abs() < 1e-9);
        assert!(Times::default().share(1.0).abs() < 1e-9);
    }
}
