//! The envelope of our events: which fields of an event are whose, and which correlation id a request has.

use chrono::{DateTime, Utc};
use cloudevents::CloudEvent;
pub use cloudevents::envelope::{CE_TYPE, header};
use uuid::Uuid;

use crate::event::AnyEvent;

/// The value of the header `content-type` on every record.
pub const CONTENT_TYPE: &str = "application/avro";

impl CloudEvent for AnyEvent {
    fn event_id(&self) -> Uuid {
        self.event_id()
    }

    fn event_type(&self) -> &str {
        self.event_type()
    }

    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at()
    }

    fn key(&self) -> String {
        self.key()
    }

    fn sequence(&self) -> i64 {
        self.sequence()
    }
}

/// The namespace of correlation ids that are derived from requests (RFC 9562, section 6.5).
const REQUESTS: Uuid = Uuid::from_u128(0x6f1c_52a8_9b0e_4d3c_8a57_21d4_0c3e_9b76);

/// The correlation id of what a request leads to, by what makes it one request: the service that answers it, then who
/// asked and their Idempotency-Key. A repeated request has the same id, and a holder of key and events can compare them.
pub fn correlation_id_of(service: &str, parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in [service].iter().chain(parts) {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&REQUESTS, &name)
}
