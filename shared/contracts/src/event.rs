//! What all integration events have in common.

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use crate::generated::AnyEvent;
use crate::schemas;
use crate::topics::Topic;

/// What the full names of all our events begin with, in every release.
pub const NAMESPACE: &str = "tidings.";

/// Whether this is an event of ours, of which only another release has a schema.
#[must_use]
pub fn is_of_another_release(event_type: &str) -> bool {
    event_type.starts_with(NAMESPACE) && schemas::newest(event_type).is_none()
}

/// One integration event: a fact in the past tense, published by the service that owns its aggregate.
pub trait Event: Sized + Send + Sync + 'static {
    /// The record's full name, such as `tidings.order.OrderPlaced`; the header `ce_type`.
    const TYPE: &'static str;
    /// The topic that carries it.
    const TOPIC: Topic;

    /// The event's id, a UUIDv7; consumers apply each id once.
    fn event_id(&self) -> Uuid;
    /// When the fact happened.
    fn occurred_at(&self) -> DateTime<Utc>;
    /// The record's key: the aggregate's id as text.
    fn key(&self) -> String;
    /// 1, 2, 3, ... within topic and key.
    fn sequence(&self) -> i64;
    /// This event among all others.
    fn into_any(self) -> AnyEvent;
    /// This event, if `any` is one.
    fn from_any(any: &AnyEvent) -> Option<&Self>;
}
