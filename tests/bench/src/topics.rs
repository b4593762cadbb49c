//! Topics with a number of partitions that the services would not give them.

use contracts::topics::{Topic, Topics};

use crate::servers::Servers;

/// Creates the topics of a deployment that is not started yet.
///
/// # Errors
/// When the broker refuses.
pub(crate) async fn create(servers: &Servers, prefix: &str, partitions: i32) -> anyhow::Result<()> {
    let names = Topics::new(prefix);
    for topic in Topic::ALL {
        let brokers = &servers.kafka.addresses.bootstrap_servers;
        debezium::topic::create(brokers, &names.name(topic), partitions).await?;
    }
    Ok(())
}
