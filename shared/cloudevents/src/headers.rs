//! The headers in which an envelope travels.

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

/// The header that names the event's type.
pub const CE_TYPE: &str = "ce_type";

pub(crate) const CE_SPECVERSION: &str = "ce_specversion";
pub(crate) const CE_ID: &str = "ce_id";
pub(crate) const CE_SOURCE: &str = "ce_source";
pub(crate) const CE_TIME: &str = "ce_time";
pub(crate) const CE_SUBJECT: &str = "ce_subject";
pub(crate) const CE_SEQUENCE: &str = "ce_sequence";
pub(crate) const CE_CORRELATION_ID: &str = "ce_correlationid";
pub(crate) const CE_CAUSATION_ID: &str = "ce_causationid";
pub(crate) const CE_USER_ID: &str = "ce_userid";
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const SPEC_VERSION: &str = "1.0";

/// An envelope that is borrowed from whoever has its parts: enough to write its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeRef<'a> {
    /// `ce_id`.
    pub event_id: Uuid,
    /// `ce_type`.
    pub event_type: &'a str,
    /// `ce_source`.
    pub source: &'a str,
    /// `ce_time`.
    pub occurred_at: DateTime<Utc>,
    /// `ce_subject`.
    pub subject: &'a str,
    /// `ce_sequence`.
    pub sequence: i64,
    /// `ce_correlationid`.
    pub correlation_id: Uuid,
    /// `ce_causationid`.
    pub causation_id: Option<Uuid>,
    /// `ce_userid`.
    pub user_id: Option<&'a str>,
    /// `traceparent`.
    pub traceparent: Option<&'a str>,
    /// `tracestate`.
    pub tracestate: Option<&'a str>,
}

impl EnvelopeRef<'_> {
    /// Gives each header in which the envelope travels, in order, beside a value of this media type.
    pub fn each_header(&self, content_type: &str, mut put: impl FnMut(&'static str, &[u8])) {
        let put_id = |put: &mut dyn FnMut(&'static str, &[u8]), name, id: Uuid| {
            let mut text = Uuid::encode_buffer();
            put(name, id.hyphenated().encode_lower(&mut text).as_bytes());
        };
        put(CE_SPECVERSION, SPEC_VERSION.as_bytes());
        put_id(&mut put, CE_ID, self.event_id);
        put(CE_TYPE, self.event_type.as_bytes());
        put(CE_SOURCE, self.source.as_bytes());
        put(CE_TIME, self.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true).as_bytes());
        put(CE_SUBJECT, self.subject.as_bytes());
        put("content-type", content_type.as_bytes());
        put(CE_SEQUENCE, self.sequence.to_string().as_bytes());
        put_id(&mut put, CE_CORRELATION_ID, self.correlation_id);
        if let Some(id) = self.causation_id {
            put_id(&mut put, CE_CAUSATION_ID, id);
        }
        let optional =
            [(CE_USER_ID, self.user_id), (TRACEPARENT, self.traceparent), (TRACESTATE, self.tracestate)];
        for (name, value) in optional {
            if let Some(value) = value {
                put(name, value.as_bytes());
            }
        }
    }
}
