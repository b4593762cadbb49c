//! What the receiver keeps: spans by trace, as many as fit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::span::ReceivedSpan;

/// Spans by trace.
#[derive(Debug)]
pub(super) struct Store {
    most_spans: usize,
    kept: Mutex<Kept>,
}

/// Invariants: `order` names each trace once, oldest first; `spans` counts those of all traces, and is at most
/// `most_spans`.
#[derive(Debug, Default)]
struct Kept {
    traces: HashMap<String, Vec<ReceivedSpan>>,
    order: VecDeque<String>,
    spans: usize,
    forgotten: u64,
}

impl Store {
    pub(super) fn new(most_spans: usize) -> Self {
        Self { most_spans, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps these spans too. Where there is no room, the traces that began to arrive first are forgotten; a further
    /// span of the very oldest trace is not kept.
    pub(super) fn keep(&self, spans: Vec<ReceivedSpan>) {
        let mut kept = self.kept();
        for span in spans {
            while kept.spans >= self.most_spans && kept.order.front().is_some_and(|id| *id != span.trace_id) {
                kept.forget_oldest();
            }
            if kept.spans >= self.most_spans {
                kept.forgotten += 1;
                continue;
            }
            kept.add(span);
        }
    }

    /// The spans of a trace in order of their beginning, if there are any.
    pub(super) fn trace(&self, trace_id: &str) -> Option<Vec<ReceivedSpan>> {
        self.kept().traces.get(trace_id).map(|spans| sorted(spans))
    }

    pub(super) fn spans(&self) -> Vec<ReceivedSpan> {
        let kept = self.kept();
        kept.order.iter().filter_map(|id| kept.traces.get(id)).flat_map(|spans| sorted(spans)).collect()
    }

    /// The newest traces in which one span of `service` has all `tags`.
    pub(super) fn search(
        &self,
        service: &str,
        tags: &BTreeMap<String, String>,
        limit: usize,
    ) -> Vec<Vec<ReceivedSpan>> {
        let kept = self.kept();
        let matches = |span: &ReceivedSpan| {
            span.service == service && tags.iter().all(|(key, value)| span.attributes.get(key) == Some(value))
        };
        let traces = kept.order.iter().rev().filter_map(|id| kept.traces.get(id));
        traces.filter(|spans| spans.iter().any(matches)).take(limit).map(|spans| sorted(spans)).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.kept().spans
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.kept().forgotten
    }
}

impl Kept {
    fn add(&mut self, span: ReceivedSpan) {
        if let Some(trace) = self.traces.get_mut(&span.trace_id) {
            trace.push(span);
        } else {
            self.order.push_back(span.trace_id.clone());
            self.traces.insert(span.trace_id.clone(), vec![span]);
        }
        self.spans += 1;
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|id| self.traces.remove(&id));
        let spans = oldest.map_or(0, |trace| trace.len());
        self.spans -= spans;
        self.forgotten += spans as u64;
    }
}

fn sorted(spans: &[ReceivedSpan]) -> Vec<ReceivedSpan> {
    let mut spans = spans.to_vec();
    spans.sort_by(|a, b| (a.start, &a.span_id).cmp(&(b.start, &b.span_id)));
    spans
}
