//! How to reach the brokers, and which librdkafka properties a deployment may choose.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use rdkafka::ClientConfig;
use redaction::REDACTED;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::authorities;
use super::properties::{self, LEAST_MESSAGE_BYTES, MESSAGE_MAX_BYTES, shown};
use crate::bus::BusError;

/// The broker section of a service's configuration.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Bootstrap servers, `host:port[,host:port]`.
    #[serde(serialize_with = "serialize_servers")]
    pub bootstrap_servers: String,
    /// The client id in the broker's logs and quotas.
    pub client_id: String,
    /// The longest that the broker may hold a fetch without new records. A partition that was just assigned or resumed may
    /// wait as long for a fetch in flight. The embedded broker does not wake a waiting fetch, so it needs a few
    /// milliseconds.
    pub fetch_wait_max_ms: u32,
    /// Time limit of requests for metadata, offsets and health.
    pub request_timeout_ms: u32,
    /// Records buffered per assigned partition; a partition with more is paused.
    pub buffer_records: usize,
    /// Bytes buffered per assigned partition; a partition with more is paused.
    pub buffer_bytes: usize,
    /// librdkafka's properties of security, addresses and tuning. Properties on which the bus depends are rejected by name,
    /// and so are those that were not examined. Underscores replace dots in the name of a variable, as in `SASL_PASSWORD`.
    #[serde(serialize_with = "redacted", deserialize_with = "dotted")]
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            client_id: "kafka-bus".to_owned(),
            fetch_wait_max_ms: 500,
            request_timeout_ms: 5_000,
            buffer_records: 1_000,
            buffer_bytes: 4 << 20,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// The defaults for these brokers.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), ..Self::default() }
    }

    /// Refuses properties that are not a choice.
    ///
    /// # Errors
    /// When the bus depends on a property, or that was not examined, or when no broker is named.
    pub fn check(&self) -> Result<(), BusError> {
        // librdkafka would log what it can't resolve: the address may be a URL with a password that belongs elsewhere.
        if !are_servers(&self.bootstrap_servers) {
            return Err(BusError::Configuration(
                "kafka.bootstrap_servers is not HOST:PORT[,HOST:PORT]; a user and a password belong in kafka.properties".into(),
            ));
        }
        for (name, value) in &self.properties {
            properties::check(name, value).map_err(BusError::Configuration)?;
        }
        if self.buffer_records == 0 || self.buffer_bytes == 0 {
            return Err(BusError::Configuration("a buffer of nothing delivers nothing".into()));
        }
        Ok(())
    }

    /// The same for messages of up to so many bytes.
    ///
    /// # Errors
    /// When a property allows less.
    pub fn with_messages_of(mut self, bytes: usize) -> Result<Self, BusError> {
        match self.properties.get(MESSAGE_MAX_BYTES).map(|given| given.parse::<usize>()) {
            None => {
                self.properties
                    .insert(MESSAGE_MAX_BYTES.to_owned(), bytes.max(LEAST_MESSAGE_BYTES).to_string());
            }
            Some(Ok(given)) if given >= bytes => {}
            Some(_) => {
                return Err(BusError::Configuration(format!(
                    "{MESSAGE_MAX_BYTES} is below topics.max_message_bytes ({bytes}): a message that was accepted could not be published"
                )));
            }
        }
        Ok(self)
    }

    /// A text of the client library without the values of properties that are not shown.
    pub(crate) fn without_values(&self, text: String) -> String {
        let hidden = self.properties.iter().filter(|(name, value)| shown(name, value) != **value);
        hidden
            .filter(|(_, value)| !value.is_empty())
            .fold(text, |text, (_, value)| text.replace(value, REDACTED))
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.request_timeout_ms))
    }

    /// What every client has in common.
    pub(crate) fn client(&self, client_id: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", client_id)
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            .set("log.connection.close", "false");
        client
    }

    /// Never duplicates or reorders within its life; never gives up on a record by itself (a record given up is a gap
    /// before its successor): the owner of the receipts decides when to replace the producer.
    pub(crate) fn producer(&self, client_id: &str) -> ClientConfig {
        let mut client = self.client(client_id);
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536")
            .set("retry.backoff.max.ms", "1000");
        self.extend(&mut client);
        client
    }

    /// The classic group protocol. Short sessions: a partition read by two members for a while does no harm, because
    /// positions are locked in the database, but one without a reader costs latency.
    pub(crate) fn consumer(&self, client_id: &str, group: &str) -> ClientConfig {
        let mut client = self.client(client_id);
        client
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "500")
            .set("max.poll.interval.ms", "60000")
            .set("fetch.wait.max.ms", self.fetch_wait_max_ms.to_string())
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100")
            // Compressed; librdkafka unpacks a whole answer, so this times the ratio is what a partition may add.
            .set("max.partition.fetch.bytes", "262144")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "4096")
            .set("topic.metadata.refresh.interval.ms", "5000");
        self.extend(&mut client);
        client
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            // What a transaction has aborted never happened.
            .set("isolation.level", "read_committed")
            // Reports, among other things, whether the member is in its group.
            .set("statistics.interval.ms", "1000");
        client
    }

    /// Asks about ends, and reads nothing. An end lies behind all that was acknowledged, also while another program's
    /// transaction is open, behind which readers wait.
    pub(crate) fn metadata(&self, client_id: &str) -> ClientConfig {
        let mut client = self.client(client_id);
        self.extend(&mut client);
        client.set("isolation.level", "read_uncommitted");
        client
    }

    /// Asks what a group has committed. It belongs to the group only once it subscribes, which it never does.
    pub(crate) fn of_group(&self, client_id: &str, group: &str) -> ClientConfig {
        let mut client = self.client(client_id);
        self.extend(&mut client);
        client.set("group.id", group).set("enable.auto.commit", "false");
        client
    }

    /// How long a member may stay out of its group before another takes its place. A rebalance waits for its slowest
    /// member as long as `max.poll.interval.ms`; twice that is too long.
    pub(crate) fn longest_absence(consumer: &ClientConfig) -> Duration {
        let given = consumer.get("max.poll.interval.ms").and_then(|ms| ms.parse().ok());
        Duration::from_millis(given.unwrap_or(60_000)) * 2
    }

    /// The deployment's own properties, as a client of librdkafka takes them: a directory of authorities is read into
    /// `ssl.ca.pem`. For each new client anew.
    pub fn client_properties(&self) -> impl Iterator<Item = (String, String)> {
        self.properties.iter().map(|(name, value)| {
            if name == authorities::LOCATION {
                let (name, value) = authorities::trusted(value);
                (name.to_owned(), value)
            } else {
                (name.clone(), value.clone())
            }
        })
    }

    pub(crate) fn extend(&self, client: &mut ClientConfig) {
        for (name, value) in self.client_properties() {
            client.set(name, value);
        }
    }
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap_servers", &shown_servers(&self.bootstrap_servers))
            .field("client_id", &self.client_id)
            .field("fetch_wait_max_ms", &self.fetch_wait_max_ms)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("buffer_records", &self.buffer_records)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("properties", &redact(&self.properties))
            .finish()
    }
}

fn dotted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let given = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(given.into_iter().map(|(name, value)| (name.replace('_', "."), value)).collect())
}

fn redacted<S: Serializer>(properties: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    redact(properties).serialize(serializer)
}

/// The properties as they may be printed.
fn redact(properties: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    properties.iter().map(|(name, value)| (name.as_str(), shown(name, value))).collect()
}

fn serialize_servers<S: Serializer>(servers: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(shown_servers(servers))
}

/// The brokers' addresses, if they are some.
fn shown_servers(servers: &str) -> &str {
    if are_servers(servers) { servers } else { REDACTED }
}

fn are_servers(text: &str) -> bool {
    text.split(',').map(str::trim).all(is_server)
}

/// `HOST`, `HOST:PORT`, or the same behind a security protocol (`SASL_SSL://HOST:PORT`).
fn is_server(text: &str) -> bool {
    let server = match text.split_once("://") {
        Some((protocol, server)) if properties::is_security_protocol(protocol) => server,
        Some(_) => return false,
        None => text,
    };
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (server, None),
    };
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_of_host),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}
