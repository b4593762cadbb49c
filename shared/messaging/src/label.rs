//! What metrics call a topic.

/// A topic's label in metrics: its name behind the last dot, because what is before is the deployment's prefix.
#[must_use]
pub fn label(topic: &str) -> String {
    topic.rsplit('.').next().unwrap_or(topic).to_owned()
}
