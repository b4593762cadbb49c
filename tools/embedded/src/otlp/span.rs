//! A span as it arrived, in plain types.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

/// Attributes by their keys; values of every type as text, lists and maps as JSON.
pub type Attributes = BTreeMap<String, String>;

/// A span. Ids are lower-case hex digits: 32 of a trace, 16 of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// `service.name` of the process that sent it.
    pub service: String,
    /// Everything that the process says about itself.
    pub resource: Arc<Attributes>,
    /// The semantic conventions that its attributes follow; empty when nothing is said.
    pub schema_url: String,
    /// Its name.
    pub name: String,
    /// `internal`, `server`, `client`, `producer`, `consumer`, or `unspecified`.
    pub kind: &'static str,
    /// Its trace.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// The span that it is a child of; none for a trace's root.
    pub parent_span_id: Option<String>,
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended.
    pub end: DateTime<Utc>,
    /// Its attributes.
    pub attributes: Attributes,
    /// What happened during it.
    pub events: Vec<ReceivedEvent>,
    /// Other spans that it belongs to.
    pub links: Vec<SpanLink>,
    /// How it ended.
    pub status: SpanStatus,
}

/// An event on a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// Its name.
    pub name: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A link to a span, most often of another trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanLink {
    /// The other span's trace.
    pub trace_id: String,
    /// The other span.
    pub span_id: String,
}

/// How a span ended, as its maker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Nothing is said: no error.
    #[default]
    Unset,
    /// Explicitly well.
    Ok,
    /// With an error, described in words.
    Error(String),
}

/// The spans of a request. What has no valid id is no span and is left out.
pub(super) fn received(request: ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = Arc::new(of_resource.resource.map(|it| attributes(it.attributes)).unwrap_or_default());
        for of_scope in of_resource.scope_spans {
            let schema_url = Some(of_scope.schema_url).filter(|url| !url.is_empty());
            let schema_url = schema_url.unwrap_or_else(|| of_resource.schema_url.clone());
            let received =
                of_scope.spans.into_iter().filter_map(|it| ReceivedSpan::new(it, &resource, &schema_url));
            spans.extend(received);
        }
    }
    spans
}

impl ReceivedSpan {
    fn new(span: Span, resource: &Arc<Attributes>, schema_url: &str) -> Option<Self> {
        let kind = span.kind();
        Some(Self {
            service: resource.get("service.name").cloned().unwrap_or_default(),
            resource: Arc::clone(resource),
            schema_url: schema_url.to_owned(),
            kind: match kind {
                SpanKind::Unspecified => "unspecified",
                SpanKind::Internal => "internal",
                SpanKind::Server => "server",
                SpanKind::Client => "client",
                SpanKind::Producer => "producer",
                SpanKind::Consumer => "consumer",
            },
            trace_id: id::<16>(&span.trace_id)?,
            span_id: id::<8>(&span.span_id)?,
            parent_span_id: id::<8>(&span.parent_span_id),
            start: time(span.start_time_unix_nano),
            end: time(span.end_time_unix_nano),
            name: span.name,
            attributes: attributes(span.attributes),
            events: span
                .events
                .into_iter()
                .map(|event| ReceivedEvent {
                    at: time(event.time_unix_nano),
                    name: event.name,
                    attributes: attributes(event.attributes),
                })
                .collect(),
            links: span
                .links
                .iter()
                .filter_map(|link| {
                    Some(SpanLink { trace_id: id::<16>(&link.trace_id)?, span_id: id::<8>(&link.span_id)? })
                })
                .collect(),
            status: span.status.map(SpanStatus::from).unwrap_or_default(),
        })
    }
}

impl From<Status> for SpanStatus {
    fn from(status: Status) -> Self {
        match status.code() {
            StatusCode::Unset => Self::Unset,
            StatusCode::Ok => Self::Ok,
            StatusCode::Error => Self::Error(status.message),
        }
    }
}

/// An id as hex digits; one of another length, or of zeros alone, is none.
fn id<const BYTES: usize>(bytes: &[u8]) -> Option<String> {
    if bytes.len() != BYTES || bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    Some(hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn time(unix_nano: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(i64::try_from(unix_nano).unwrap_or(i64::MAX))
}

fn attributes(list: Vec<KeyValue>) -> Attributes {
    list.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        other => json(AnyValue { value: other }).to_string(),
    }
}

fn json(value: AnyValue) -> serde_json::Value {
    match value.value {
        None => serde_json::Value::Null,
        Some(Value::StringValue(text)) => text.into(),
        Some(Value::BoolValue(truth)) => truth.into(),
        Some(Value::IntValue(number)) => number.into(),
        Some(Value::DoubleValue(number)) => number.into(),
        Some(Value::BytesValue(bytes)) => hex(&bytes).into(),
        // Belongs to profiles; nothing in a trace can name a string of their table.
        Some(Value::StringValueStrindex(_)) => serde_json::Value::Null,
        Some(Value::ArrayValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Value::KvlistValue(map)) => {
            map.values.into_iter().map(|pair| (pair.key, pair.value.map(json).unwrap_or_default())).collect()
        }
    }
}
