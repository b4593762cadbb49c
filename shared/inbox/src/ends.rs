//! The offsets that the topics hold, as far as their partitions' leaders answer.

use futures::future::join_all;
use messaging::{Bus, BusError, TopicPartition, Watermarks, ends};

/// The offsets that each partition of a topic holds, as far as its leader answers.
pub(crate) type Ends = Vec<(TopicPartition, Result<Watermarks, BusError>)>;

/// What the topics hold; none for one whose partitions the broker does not name.
pub(crate) async fn ends_of(bus: &dyn Bus, topics: &[String]) -> Vec<Option<Ends>> {
    let of_topic = async |topic: &String| match ends::partitions(bus, topic).await {
        Ok(partitions) => Some(ends::watermarks(bus, partitions).await),
        Err(error) => {
            tracing::debug!(topic, %error, "cannot read consumer lag");
            None
        }
    };
    join_all(topics.iter().map(of_topic)).await
}
