//! What all integration events have in common, and which are ours.

pub use crate::generated::{AnyEvent, Event};
use crate::schemas;

/// What the full names of all our events begin with, in every release.
pub const NAMESPACE: &str = "tidings.";

/// Whether this is an event of ours, of which only another release has a schema.
#[must_use]
pub fn is_of_another_release(event_type: &str) -> bool {
    event_type.starts_with(NAMESPACE) && schemas::newest(event_type).is_none()
}
