//! What all integration events have in common, and which are ours.

pub use crate::generated::{AnyEvent, Event};
use crate::schemas;
use crate::topics::Topic;

/// What the full names of all our events begin with, in every release.
pub const NAMESPACE: &str = "tidings.";

/// Whether this is an event of ours, of which only another release has a schema.
pub fn is_of_another_release(event_type: &str) -> bool {
    event_type.starts_with(NAMESPACE) && schemas::newest(event_type).is_none()
}

/// The topic that carries events of this type; none of a type that is not ours.
pub fn topic_of(event_type: &str) -> Option<Topic> {
    Some(schemas::newest(event_type)?.topic)
}
