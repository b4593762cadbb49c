//! The offsets that the topics hold, as far as their partitions' leaders answer.

use futures::future::join_all;
use messaging::{Bus, BusError, TopicPartition, Watermarks, ends};

/// The offsets that each partition of a topic holds, as far as its leader answers.
pub(crate) type Ends = Vec<(TopicPartition, Result<Watermarks, BusError>)>;

/// What the topics hold; none for one whose partitions the broker does not name. All partitions are asked for at once.
pub(crate) async fn ends_of(bus: &dyn Bus, topics: &[String]) -> Vec<Option<Ends>> {
    let named = join_all(topics.iter().map(|topic| named(bus, topic))).await;
    let counts: Vec<Option<usize>> = named.iter().map(|ids| ids.as_ref().map(Vec::len)).collect();
    let mut answers =
        ends::watermarks(bus, named.into_iter().flatten().flatten().collect()).await.into_iter();
    counts.into_iter().map(|count| Some(answers.by_ref().take(count?).collect())).collect()
}

async fn named(bus: &dyn Bus, topic: &str) -> Option<Vec<TopicPartition>> {
    let named = ends::partitions(bus, topic).await;
    named.inspect_err(|error| tracing::debug!(topic, %error, "cannot read consumer lag")).ok()
}
