//! The tree for people: one line a span, then the figures.

use std::fmt;

use super::OrderTrace;
use super::times::Times;
use super::tree::{Tree, TreeSpan};

/// Names longer than this are not waited for by the columns behind them.
const WIDEST: usize = 72;
/// The attribute that says what became of a message, and its value when all is as it should be.
const OUTCOME: &str = "tidings.outcome";
const APPLIED: &str = "applied";
/// How many of a span's events are named.
const MOST_EVENTS: usize = 3;

impl fmt::Display for OrderTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "trace {} of order {}, {}", self.tree.trace_id, self.order_id, self.status)?;
        let labels = labels(&self.tree);
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default().min(WIDEST);
        writeln!(f, "{:width$}  {:>10}  {:>10}", "", "from start", "duration")?;
        for (label, span) in labels.iter().zip(&self.tree.spans) {
            let (offset, duration) = (milliseconds(span.offset_ms), milliseconds(span.duration_ms));
            let remarks = remarks(span);
            let line = format!("{label:width$}  {offset:>10}  {duration:>10}  {remarks}");
            writeln!(f, "{}", line.trim_end())?;
        }
        let Times { total_ms, outbox_ms, topic_ms, transaction_ms } = self.times;
        let part = |part_ms| format!("{:.0} % ({})", self.times.share(part_ms), milliseconds(part_ms));
        writeln!(
            f,
            "{} spans of {} services in {}: {} waiting in the outbox, {} waiting on the topic, {} in transactions",
            self.tree.spans.len(),
            self.tree.services(),
            milliseconds(total_ms),
            part(outbox_ms),
            part(topic_ms),
            part(transaction_ms),
        )?;
        if self.is_complete() { Ok(()) } else { writeln!(f, "incomplete: {}", self.missing.join("; ")) }
    }
}

/// Each span's service and name behind the branches that lead to it.
fn labels(tree: &Tree) -> Vec<String> {
    // Whether the branch at each depth goes on below the present line; read from the last line upwards.
    let mut goes_on: Vec<bool> = Vec::new();
    let mut labels: Vec<String> = Vec::with_capacity(tree.spans.len());
    for span in tree.spans.iter().rev() {
        let mut label = String::new();
        for depth in 1..=span.depth {
            let is_own = depth == span.depth;
            label.push_str(match (is_own, goes_on.get(depth).copied().unwrap_or_default()) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        label.push_str(&format!("{}  {}", span.service, span.name));
        labels.push(label);
        goes_on.resize(span.depth + 1, false);
        if let Some(own) = goes_on.get_mut(span.depth) {
            *own = true;
        }
    }
    labels.reverse();
    labels
}

fn remarks(span: &TreeSpan) -> String {
    let mut remarks = Vec::new();
    if let Some(wait) = span.outbox_wait_ms {
        remarks.push(format!("after {} in the outbox", milliseconds(wait)));
    }
    if let Some(wait) = span.topic_wait_ms {
        remarks.push(format!("after {} on the topic", milliseconds(wait)));
    }
    remarks.extend(span.events.iter().take(MOST_EVENTS).cloned());
    if span.events.len() > MOST_EVENTS {
        remarks.push(format!("{} more events", span.events.len() - MOST_EVENTS));
    }
    if span.is_orphan {
        remarks.push("parent missing".to_owned());
    }
    let outcome = span.attributes.get(OUTCOME).filter(|outcome| *outcome != APPLIED);
    remarks.extend(outcome.cloned());
    remarks.extend(span.error.iter().map(|words| match words.as_str() {
        "" => "ERROR".to_owned(),
        words => format!("ERROR: {words}"),
    }));
    remarks.join("; ")
}

fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 1_000.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{:.2} s", milliseconds / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use embedded::otlp::jaeger::{Process, Reference, Span, Tag, Trace};

    use super::*;
    use crate::trace::tree::{OUTBOX_WAIT, TOPIC_WAIT};

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.to_owned(), value_type: "string".to_owned(), value: value.into() }
    }

    /// A span that begins `at` milliseconds after the trace and lasts `lasts`; its id is its name.
    fn span(service: &str, name: &str, parent: &str, (at, lasts): (i64, i64), tags: &[(&str, &str)]) -> Span {
        let parent = Some(parent).filter(|parent| !parent.is_empty()).map(|parent| Reference {
            ref_type: "CHILD_OF".to_owned(),
            trace_id: "t".to_owned(),
            span_id: parent.to_owned(),
        });
        Span {
            trace_id: "t".to_owned(),
            span_id: name.to_owned(),
            operation_name: name.to_owned(),
            references: parent.into_iter().collect(),
            start_time: 1_700_000_000_000_000 + at * 1_000,
            duration: lasts * 1_000,
            tags: tags.iter().map(|(key, value)| tag(key, value)).collect(),
            logs: Vec::new(),
            process_id: service.to_owned(),
        }
    }

    fn shown(spans: Vec<Span>, missing: &[&str]) -> String {
        let process = |span: &Span| Process { service_name: span.process_id.clone(), tags: Vec::new() };
        let processes: BTreeMap<_, _> =
            spans.iter().map(|span| (span.process_id.clone(), process(span))).collect();
        let tree = Tree::new(&Trace { trace_id: "t".to_owned(), spans, processes });
        let trace = OrderTrace {
            order_id: uuid::Uuid::nil(),
            status: "confirmed".to_owned(),
            times: Times::of(&tree, &[]),
            tree,
            missing: missing.iter().map(|what| (*what).to_owned()).collect(),
        };
        trace.to_string()
    }

    #[test]
    fn a_trace_is_a_tree_with_its_waiting_and_its_errors() {
        let error = [("error", "true"), ("otel.status_description", "declined")];
        let text = shown(
            vec![
                span("payment", "process", "publish", (50, 40), &[(TOPIC_WAIT, "10")]),
                span("order", "publish", "POST /orders", (30, 10), &[(OUTBOX_WAIT, "20")]),
                span("payment", "INSERT", "process", (60, 20), &[("db.system.name", "postgresql")]),
                span("order", "POST /orders", "", (0, 10), &[]),
                span("inventory", "process too", "publish", (45, 10), &error),
            ],
            &[],
        );
        let expected = "\
trace t of order 00000000-0000-0000-0000-000000000000, confirmed
                              from start    duration
order  POST /orders               0.0 ms     10.0 ms
└─ order  publish                30.0 ms     10.0 ms  after 20.0 ms in the outbox
   ├─ inventory  process too     45.0 ms     10.0 ms  ERROR: declined
   └─ payment  process           50.0 ms     40.0 ms  after 10.0 ms on the topic
      └─ payment  INSERT         60.0 ms     20.0 ms
5 spans of 3 services in 90.0 ms: 22 % (20.0 ms) waiting in the outbox, 11 % (10.0 ms) waiting on the topic, 22 % (20.0 ms) in transactions
";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn branches_go_on_below_a_sibling_with_children() {
        let text = shown(
            vec![
                span("order", "root", "", (0, 9), &[]),
                span("order", "first", "root", (1, 1), &[]),
                span("order", "below", "first", (2, 1), &[]),
                span("order", "second", "root", (3, 1), &[]),
            ],
            &[],
        );
        let branches: Vec<_> =
            text.lines().skip(2).take(4).filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(branches, ["order", "├─ order", "│", "└─ order"], "{text}");
    }

    #[test]
    fn a_span_whose_parent_is_not_there_and_what_else_is_missing_are_named() {
        let spans = vec![span("order", "root", "", (0, 9), &[]), span("order", "lost", "gone", (5, 1), &[])];
        let text = shown(spans, &["the parents of 1 spans"]);
        assert!(text.contains("order  lost      5.0 ms"), "{text}");
        assert!(text.contains("parent missing"), "{text}");
        assert!(text.ends_with("incomplete: the parents of 1 spans\n"), "{text}");
    }

    #[test]
    fn spans_that_are_their_own_ancestors_are_shown_all_the_same() {
        let spans = vec![span("order", "a", "b", (0, 1), &[]), span("order", "b", "a", (0, 1), &[])];
        assert_eq!(shown(spans, &[]).matches("parent missing").count(), 2);
    }
}
