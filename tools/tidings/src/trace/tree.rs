//! A trace as a tree: every span once, each after its parent, siblings in order of their beginning.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use embedded::otlp::jaeger::{Span, Tag, Trace};
use serde::Serialize;

/// The attribute that says how long an event waited in the outbox before it was published.
pub(super) const OUTBOX_WAIT: &str = "tidings.outbox.wait_ms";
/// The attribute that says how long an event waited on the topic before it was processed.
pub(super) const TOPIC_WAIT: &str = "tidings.topic.wait_ms";

/// The spans of one trace, depth first.
#[derive(Clone, Debug, Serialize)]
pub struct Tree {
    /// 32 hex digits.
    pub trace_id: String,
    /// When its first span began.
    pub begin: DateTime<Utc>,
    /// The spans.
    pub spans: Vec<TreeSpan>,
}

/// A span in its place.
#[derive(Clone, Debug, Serialize)]
pub struct TreeSpan {
    /// How many ancestors it has.
    pub depth: usize,
    /// Whether it names a parent that is not there.
    pub is_orphan: bool,
    /// Who made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 16 hex digits.
    pub span_id: String,
    /// Its parent, here or not.
    pub parent_span_id: Option<String>,
    /// When it began.
    pub start: DateTime<Utc>,
    /// The same in milliseconds since the trace's beginning.
    pub offset_ms: f64,
    /// How long it lasted.
    pub duration_ms: f64,
    /// How long its event had waited in the outbox.
    pub outbox_wait_ms: Option<f64>,
    /// How long its event had waited on the topic.
    pub topic_wait_ms: Option<f64>,
    /// That something went wrong, in words if there are any.
    pub error: Option<String>,
    /// The names of its events.
    pub events: Vec<String>,
    /// The other traces that it links to: the batch in which its message was processed.
    pub linked_traces: Vec<String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Tree {
    /// Orders the spans of a trace.
    pub fn new(trace: &Trace) -> Self {
        let begin = trace.spans.iter().map(Span::start).min().unwrap_or_default();
        // A collector may deliver a span twice.
        let mut known = HashMap::new();
        for span in &trace.spans {
            known.entry(span.span_id.as_str()).or_insert(span);
        }
        let parent = |span: &Span| known.get(span.parent()?).map(|parent| parent.span_id.clone());
        let mut children: HashMap<Option<String>, Vec<&Span>> = HashMap::new();
        for span in known.values() {
            children.entry(parent(span)).or_default().push(span);
        }
        for siblings in children.values_mut() {
            siblings.sort_by(|a, b| (b.start_time, &b.span_id).cmp(&(a.start_time, &a.span_id)));
        }
        let mut spans = Vec::with_capacity(known.len());
        let mut placed = HashSet::new();
        let mut next: Vec<(usize, &Span)> =
            children.get(&None).into_iter().flatten().map(|root| (0, *root)).collect();
        while let Some((depth, span)) = next.pop() {
            placed.insert(span.span_id.as_str());
            let is_orphan = depth == 0 && span.parent().is_some();
            spans.push(TreeSpan::new(span, trace, begin, depth, is_orphan));
            let below = children.get(&Some(span.span_id.clone())).into_iter().flatten();
            next.extend(below.map(|child| (depth + 1, *child)));
        }
        // Spans that are their own ancestors hang nowhere.
        let circular = known.values().filter(|span| !placed.contains(span.span_id.as_str()));
        spans.extend(circular.map(|span| TreeSpan::new(span, trace, begin, 0, true)));
        Self { trace_id: trace.trace_id.clone(), begin, spans }
    }

    /// How many services have spans in it.
    pub fn services(&self) -> usize {
        self.spans.iter().map(|span| &span.service).collect::<HashSet<_>>().len()
    }
}

impl TreeSpan {
    fn new(span: &Span, trace: &Trace, begin: DateTime<Utc>, depth: usize, is_orphan: bool) -> Self {
        let process = trace.processes.get(&span.process_id);
        let milliseconds = |key: &str| span.tag(key)?.parse().ok();
        let is_error = span.tag("error").as_deref() == Some("true");
        let words = || span.tag("otel.status_description").filter(|words| !words.is_empty());
        let events = span.logs.iter().filter_map(|log| log.fields.iter().find(|field| field.key == "event"));
        Self {
            depth,
            is_orphan,
            service: process.map_or_else(|| "?".to_owned(), |process| process.service_name.clone()),
            name: span.operation_name.clone(),
            span_id: span.span_id.clone(),
            parent_span_id: span.parent().map(str::to_owned),
            start: span.start(),
            offset_ms: offset_ms(span, begin),
            duration_ms: from_micros(span.duration),
            outbox_wait_ms: milliseconds(OUTBOX_WAIT),
            topic_wait_ms: milliseconds(TOPIC_WAIT),
            error: is_error.then(|| words().unwrap_or_default()),
            events: events.map(Tag::text).collect(),
            linked_traces: span.linked_traces().map(str::to_owned).collect(),
            attributes: span.tags.iter().map(|tag| (tag.key.clone(), tag.text())).collect(),
        }
    }
}

/// Milliseconds from the trace's beginning to the span's.
pub(super) fn offset_ms(span: &Span, begin: DateTime<Utc>) -> f64 {
    from_micros(span.start_time - begin.timestamp_micros())
}

#[expect(clippy::cast_precision_loss, reason = "a double counts microseconds exactly for centuries")]
pub(super) fn from_micros(micros: i64) -> f64 {
    micros as f64 / 1_000.0
}
