//! Jaeger's JSON form of traces (<https://www.jaegertracing.io/docs/1.76/architecture/apis/>), written by the receiver and read by
//! clients of a real Jaeger.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::span::{Attributes, ReceivedSpan, SpanStatus};

/// What the API answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The traces; nothing where something is wrong.
    pub data: Option<Vec<Trace>>,
    /// What is wrong.
    pub errors: Option<Vec<Problem>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub code: u16,
    /// Words.
    pub msg: String,
}

/// A trace: its spans, and who sent them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// 32 hex digits.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Processes by the names that spans call them.
    pub processes: BTreeMap<String, Process>,
}

/// A process that sent spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// `service.name`.
    pub service_name: String,
    /// What else it says about itself.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A span.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Its trace.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// 16 hex digits.
    #[serde(rename = "spanID")]
    pub span_id: String,
    /// Its name.
    pub operation_name: String,
    /// Its parent, and what it links to.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// When it began, in microseconds of Unix time.
    pub start_time: i64,
    /// How long it lasted, in microseconds.
    pub duration: i64,
    /// Its attributes, and kind and status as Jaeger spells them.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Its events.
    #[serde(default)]
    pub logs: Vec<Log>,
    /// Which process sent it.
    #[serde(rename = "processID")]
    pub process_id: String,
}

/// Another span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// `CHILD_OF` for the parent, `FOLLOWS_FROM` for a link.
    pub ref_type: String,
    /// The other span's trace.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// The other span.
    #[serde(rename = "spanID")]
    pub span_id: String,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// `string`, `bool`, `int64`, `float64` or `binary`.
    #[serde(rename = "type")]
    pub value_type: String,
    /// Its value.
    pub value: Value,
}

/// An event on a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// When, in microseconds of Unix time.
    pub timestamp: i64,
    /// Its attributes; `event` is its name.
    pub fields: Vec<Tag>,
}

impl Answer {
    /// An answer with these traces.
    pub const fn of(traces: Vec<Trace>) -> Self {
        Self { data: Some(traces), errors: None }
    }
}

impl Tag {
    fn string(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value_type: "string".to_owned(), value: value.into() }
    }

    /// The value as text, whatever its type.
    pub fn text(&self) -> String {
        self.value.as_str().map_or_else(|| self.value.to_string(), str::to_owned)
    }
}

impl Trace {
    /// These spans of one trace. All attributes are strings here.
    pub fn from_received(received: &[ReceivedSpan]) -> Self {
        let mut senders: Vec<(&str, &Attributes)> = Vec::new();
        let mut spans = Vec::with_capacity(received.len());
        for span in received {
            let sender = (span.service.as_str(), &*span.resource);
            let position = senders.iter().position(|other| *other == sender).unwrap_or_else(|| {
                senders.push(sender);
                senders.len() - 1
            });
            spans.push(Span::from_received(span, process_id(position)));
        }
        let processes = senders.into_iter().enumerate().map(|(position, (service, resource))| {
            let others = resource.iter().filter(|(key, _)| *key != "service.name");
            let tags = others.map(|(key, value)| Tag::string(key, value)).collect();
            (process_id(position), Process { service_name: service.to_owned(), tags })
        });
        let trace_id = received.first().map(|span| span.trace_id.clone()).unwrap_or_default();
        Self { trace_id, spans, processes: processes.collect() }
    }
}

fn process_id(position: usize) -> String {
    format!("p{}", position + 1)
}

impl Span {
    fn from_received(span: &ReceivedSpan, process_id: String) -> Self {
        let reference = |ref_type: &str, trace_id: &str, span_id: &str| Reference {
            ref_type: ref_type.to_owned(),
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
        };
        let parent = span.parent_span_id.iter().map(|id| reference("CHILD_OF", &span.trace_id, id));
        let links = span.links.iter().map(|link| reference("FOLLOWS_FROM", &link.trace_id, &link.span_id));
        let mut tags: Vec<Tag> = span.attributes.iter().map(|(key, value)| Tag::string(key, value)).collect();
        tags.push(Tag::string("span.kind", span.kind));
        match &span.status {
            SpanStatus::Unset => {}
            SpanStatus::Ok => tags.push(Tag::string("otel.status_code", "OK")),
            SpanStatus::Error(words) => {
                tags.push(Tag { key: "error".to_owned(), value_type: "bool".to_owned(), value: true.into() });
                tags.push(Tag::string("otel.status_code", "ERROR"));
                tags.push(Tag::string("otel.status_description", words));
            }
        }
        let logs = span.events.iter().map(|event| {
            let name = Tag::string("event", &event.name);
            let fields = event.attributes.iter().map(|(key, value)| Tag::string(key, value));
            Log {
                timestamp: event.at.timestamp_micros(),
                fields: std::iter::once(name).chain(fields).collect(),
            }
        });
        Self {
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            operation_name: span.name.clone(),
            references: parent.chain(links).collect(),
            start_time: span.start.timestamp_micros(),
            duration: (span.end - span.start).num_microseconds().unwrap_or(i64::MAX),
            tags,
            logs: logs.collect(),
            process_id,
        }
    }

    /// The parent's id, if there is a parent.
    pub fn parent(&self) -> Option<&str> {
        let is_parent = |it: &&Reference| it.ref_type == "CHILD_OF" && it.trace_id == self.trace_id;
        self.references.iter().find(is_parent).map(|parent| parent.span_id.as_str())
    }

    /// The other traces that it links to.
    pub fn linked_traces(&self) -> impl Iterator<Item = &str> {
        self.references.iter().map(|it| it.trace_id.as_str()).filter(|id| *id != self.trace_id)
    }

    /// An attribute as text, if it is there.
    pub fn tag(&self, key: &str) -> Option<String> {
        self.tags.iter().find(|tag| tag.key == key).map(Tag::text)
    }

    /// When it began.
    pub fn start(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.start_time).unwrap_or_default()
    }
}
