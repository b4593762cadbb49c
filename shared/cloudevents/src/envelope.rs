//! What travels beside an event: CloudEvents 1.0 attributes in binary mode, and the W3C trace context.
//!
//! Source: CloudEvents 1.0 Kafka protocol binding (headers `ce_*`), its sequence extension, W3C Trace Context.

use std::fmt::Display;
use std::str::{FromStr, Utf8Error};

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

pub use crate::headers::CE_TYPE;
use crate::headers::{
    CE_CAUSATION_ID, CE_CORRELATION_ID, CE_ID, CE_SEQUENCE, CE_SOURCE, CE_SPECVERSION, CE_SUBJECT, CE_TIME,
    CE_USER_ID, EnvelopeRef, SPEC_VERSION, TRACEPARENT, TRACESTATE,
};
use crate::trace_context::TraceContext;

/// The source of an event whose producer did not name itself.
const UNKNOWN_SOURCE: &str = "unknown";

/// Everything that routing, idempotence and tracing need, readable without decoding the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`: the event's id, a UUIDv7.
    pub event_id: Uuid,
    /// `ce_type`: the type's full name, such as `example.parcels.ParcelSent`.
    pub event_type: String,
    /// `ce_source`: the service that published it.
    pub source: String,
    /// `ce_time`: when the fact happened.
    pub occurred_at: DateTime<Utc>,
    /// `ce_subject`, the record's key: the aggregate's id.
    pub subject: String,
    /// `ce_sequence`: 1, 2, 3, ... within topic and key.
    pub sequence: i64,
    /// `ce_correlationid`: the id of everything that follows from one request.
    pub correlation_id: Uuid,
    /// `ce_causationid`: the event that led to this one.
    pub causation_id: Option<Uuid>,
    /// `ce_userid`: who asked, where known.
    pub user_id: Option<String>,
    /// `traceparent` and `tracestate`.
    pub trace: TraceContext,
}

/// The identity of an event, whatever format its value has.
pub trait CloudEvent {
    /// The event's id; consumers apply each id once. A UUIDv7, so that ids are ordered by time.
    fn event_id(&self) -> Uuid;
    /// The type's full name, such as `example.parcels.ParcelSent`.
    fn event_type(&self) -> &str;
    /// When it happened.
    fn occurred_at(&self) -> DateTime<Utc>;
    /// The record's key: the aggregate's id as text.
    fn key(&self) -> String;
    /// 1, 2, 3, ... within topic and key.
    fn sequence(&self) -> i64;
}

/// Why headers are no envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A required header is not there.
    #[error("the header {name} is missing")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A header is there, and its value is malformed.
    #[error("the header {name} is invalid: {detail}")]
    Invalid {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// The text of a header. Where it is repeated, the last one counts, as in Kafka's `Headers.lastHeader`.
#[must_use]
pub fn header<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    Headers(headers).text(name)?.ok()
}

impl Envelope {
    /// The envelope that travelled in these headers: what `to_headers` gave, in any order, among others.
    /// Where a header is repeated, the last one counts.
    ///
    /// # Errors
    /// When a required header is missing, or any of ours is malformed.
    pub fn from_headers(headers: &[(String, Vec<u8>)]) -> Result<Self, EnvelopeError> {
        let headers = Headers(headers);
        let version = headers.required::<String>(CE_SPECVERSION)?;
        if version != SPEC_VERSION {
            let detail = format!("{version:.20} is not {SPEC_VERSION}");
            return Err(EnvelopeError::Invalid { name: CE_SPECVERSION, detail });
        }
        Ok(Self {
            event_id: headers.required(CE_ID)?,
            event_type: headers.required(CE_TYPE)?,
            source: headers.required(CE_SOURCE)?,
            occurred_at: headers.required::<DateTime<Utc>>(CE_TIME)?.trunc_subsecs(6),
            subject: headers.required(CE_SUBJECT)?,
            sequence: headers.required(CE_SEQUENCE)?,
            correlation_id: headers.required(CE_CORRELATION_ID)?,
            causation_id: headers.optional(CE_CAUSATION_ID)?,
            user_id: headers.optional(CE_USER_ID)?,
            trace: headers.trace(),
        })
    }

    /// The envelope of a delivered event, whatever produced it. The event itself is the authority for its id, type,
    /// time, key and sequence; from the headers comes what only they know, where they hold it. A foreign producer's
    /// event without headers begins a correlation of its own, with the event's id.
    #[must_use]
    pub fn from_delivered(headers: &[(String, Vec<u8>)], event: &impl CloudEvent) -> Self {
        let headers = Headers(headers);
        Self {
            event_id: event.event_id(),
            event_type: event.event_type().to_owned(),
            source: headers.lenient(CE_SOURCE).unwrap_or_else(|| UNKNOWN_SOURCE.to_owned()),
            occurred_at: event.occurred_at(),
            subject: event.key(),
            sequence: event.sequence(),
            correlation_id: headers.lenient(CE_CORRELATION_ID).unwrap_or_else(|| event.event_id()),
            causation_id: headers.lenient(CE_CAUSATION_ID),
            user_id: headers.lenient(CE_USER_ID),
            trace: headers.trace(),
        }
    }

    /// The type that the headers name, if any: enough to skip an event without a subscription undecoded.
    #[must_use]
    pub fn event_type_of(headers: &[(String, Vec<u8>)]) -> Option<&str> {
        header(headers, CE_TYPE)
    }

    /// The headers in which this envelope travels, beside a value of this media type, such as `application/avro`.
    #[must_use]
    pub fn to_headers(&self, content_type: &str) -> Vec<(String, Vec<u8>)> {
        let mut headers: Vec<(String, Vec<u8>)> = Vec::with_capacity(13);
        self.borrowed()
            .each_header(content_type, |name, value| headers.push((name.to_owned(), value.to_vec())));
        headers
    }

    /// The same envelope, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> EnvelopeRef<'_> {
        EnvelopeRef {
            event_id: self.event_id,
            event_type: &self.event_type,
            source: &self.source,
            occurred_at: self.occurred_at,
            subject: &self.subject,
            sequence: self.sequence,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            user_id: self.user_id.as_deref(),
            traceparent: self.trace.traceparent.as_deref(),
            tracestate: self.trace.tracestate.as_deref(),
        }
    }
}

impl EnvelopeRef<'_> {
    /// The envelope with texts of its own.
    #[must_use]
    pub fn to_envelope(&self) -> Envelope {
        Envelope {
            event_id: self.event_id,
            event_type: self.event_type.to_owned(),
            source: self.source.to_owned(),
            occurred_at: self.occurred_at,
            subject: self.subject.to_owned(),
            sequence: self.sequence,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            user_id: self.user_id.map(str::to_owned),
            trace: TraceContext {
                traceparent: self.traceparent.map(str::to_owned),
                tracestate: self.tracestate.map(str::to_owned),
            },
        }
    }
}

/// Why something is about to be published: what a new event inherits from the request or event that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The id of everything that follows from one request.
    pub correlation_id: Uuid,
    /// The event that leads to the new one; none when a request does.
    pub causation_id: Option<Uuid>,
    /// Who asked, where known.
    pub user_id: Option<String>,
    /// The trace that the new event continues.
    pub trace: TraceContext,
}

impl Envelope {
    /// The envelope of `event`, published by `source` because of `cause`.
    #[must_use]
    pub fn of(event: &impl CloudEvent, source: &str, cause: &Cause) -> Self {
        Self {
            event_id: event.event_id(),
            event_type: event.event_type().to_owned(),
            source: source.to_owned(),
            occurred_at: event.occurred_at(),
            subject: event.key(),
            sequence: event.sequence(),
            correlation_id: cause.correlation_id,
            causation_id: cause.causation_id,
            user_id: cause.user_id.clone(),
            trace: cause.trace.clone(),
        }
    }

    /// This event as the cause of what follows from it.
    #[must_use]
    pub fn as_cause(&self) -> Cause {
        Cause {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id),
            user_id: self.user_id.clone(),
            trace: self.trace.clone(),
        }
    }
}

/// Record headers as they arrive: names repeat, values are any bytes.
#[derive(Clone, Copy)]
struct Headers<'a>(&'a [(String, Vec<u8>)]);

impl<'a> Headers<'a> {
    fn text(self, name: &str) -> Option<Result<&'a str, Utf8Error>> {
        let (_, value) = self.0.iter().rfind(|(other, _)| other == name)?;
        Some(std::str::from_utf8(value))
    }

    fn optional<T: FromStr<Err: Display>>(self, name: &'static str) -> Result<Option<T>, EnvelopeError> {
        let invalid = |detail: String| EnvelopeError::Invalid { name, detail };
        match self.text(name) {
            None => Ok(None),
            Some(Err(error)) => Err(invalid(error.to_string())),
            Some(Ok(text)) => text.parse().map(Some).map_err(|error: T::Err| invalid(error.to_string())),
        }
    }

    fn required<T: FromStr<Err: Display>>(self, name: &'static str) -> Result<T, EnvelopeError> {
        self.optional(name)?.ok_or(EnvelopeError::Missing { name })
    }

    fn lenient<T: FromStr>(self, name: &str) -> Option<T> {
        self.text(name)?.ok()?.parse().ok()
    }

    fn trace(self) -> TraceContext {
        TraceContext { traceparent: self.lenient(TRACEPARENT), tracestate: self.lenient(TRACESTATE) }
    }
}
