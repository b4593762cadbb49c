//! Which of librdkafka's properties a deployment may choose: those by which brokers are reached, and those that trade latency,
//! throughput and memory. All others are refused, because a promise of the bus depends on them, or because that was not examined.

use std::path::Path;

use redaction::REDACTED;

/// The smallest limit of one message that a deployment may choose: what librdkafka has by default, and `topics.max_message_bytes` too.
pub(crate) const LEAST_MESSAGE_BYTES: usize = 1_000_000;

/// The limit of one message, which must not be below that of the outbox.
pub(crate) const MESSAGE_MAX_BYTES: &str = "message.max.bytes";

/// Security: whole families.
const SECURITY: [&str; 2] = ["sasl.", "ssl."];

/// Security and addresses.
const REACHING: &[&str] = &[
    "security.protocol",
    "enable.ssl.certificate.verification",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.rack",
    "connections.max.idle.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
];

/// Latency, throughput, memory.
const TUNING: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "check.crcs",
    "compression.codec",
    "compression.level",
    "compression.type",
    "debug",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "heartbeat.interval.ms",
    "linger.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "session.timeout.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// Values that may be printed.
const PROTOCOLS: &[&str] = &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
const MECHANISMS: &[&str] = &["PLAIN", "GSSAPI", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
const WORDS: &[&str] = &[
    "true",
    "false",
    "none",
    "gzip",
    "snappy",
    "lz4",
    "zstd",
    "inherit",
    "any",
    "v4",
    "v6",
    "use_all_dns_ips",
    "resolve_canonical_bootstrap_servers_only",
];

/// Why a property is not a choice.
fn reason(name: &str) -> &'static str {
    match name {
        "acks" | "request.required.acks" => {
            "a record counts as acknowledged when all in-sync replicas have it"
        }
        "bootstrap.servers" | "metadata.broker.list" => "the address is kafka.bootstrap_servers",
        "client.id" => "the name is kafka.client_id",
        "auto.offset.reset" => "a position outside the topic's range stops its partition, and is never reset",
        "enable.auto.commit" | "enable.auto.offset.store" => {
            "positions are committed in the service's database"
        }
        "enable.idempotence" => "a record that the client repeats would stand twice on its topic",
        "fetch.wait.max.ms" => "it is kafka.fetch_wait_max_ms",
        "group.id" => "the group is named by topics.prefix and the service",
        "group.protocol" | "group.protocol.type" | "group.remote.assignor" => {
            "members follow the classic group protocol"
        }
        "group.instance.id" => {
            "a static member that leaves keeps its partitions, and no other member takes them over"
        }
        "isolation.level" => "a record of a transaction that was aborted never happened",
        "max.in.flight" | "max.in.flight.requests.per.connection" => {
            "with more requests in flight, records of a key may lose their order"
        }
        "message.timeout.ms"
        | "delivery.timeout.ms"
        | "message.send.max.retries"
        | "retries"
        | "enable.gapless.guarantee" => {
            "a client that gives up a record by itself leaves a gap in its key's events"
        }
        "partition.assignment.strategy" => "all members have to follow the same strategy",
        "partitioner" | "sticky.partitioning.linger.ms" => "a key's partition is the same for every producer",
        "statistics.interval.ms" => "the statistics report whether a member is in its group",
        "transactional.id" | "transaction.timeout.ms" => {
            "records are published outside of any transaction; two producers of one id would fence each other off"
        }
        _ => "it is not among the properties of security, addresses and tuning that may be chosen",
    }
}

/// Refuses what is not a choice, by name and with the reason.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    if name == MESSAGE_MAX_BYTES {
        return match value.parse::<usize>() {
            Ok(bytes) if bytes >= LEAST_MESSAGE_BYTES => Ok(()),
            Ok(bytes) => Err(format!("{name} is {bytes}: it has to be at least {LEAST_MESSAGE_BYTES}")),
            Err(_) => Err(format!("{name} is not a number of at least {LEAST_MESSAGE_BYTES}")),
        };
    }
    let is_choice = SECURITY.iter().any(|family| name.starts_with(family))
        || REACHING.contains(&name)
        || TUNING.contains(&name);
    if is_choice { Ok(()) } else { Err(format!("{name} is not a choice: {}", reason(name))) }
}

/// The value as it may be printed: one that this property can have and that is no secret. All else may be a secret in the wrong
/// place, such as the password of a property whose name is misspelt.
pub(crate) fn shown(name: &str, value: &str) -> String {
    let is_one_of = |values: &[&str]| values.iter().any(|known| known.eq_ignore_ascii_case(value));
    let is_examined = name == MESSAGE_MAX_BYTES || REACHING.contains(&name) || TUNING.contains(&name);
    let is_shown = match name {
        "security.protocol" => is_security_protocol(value),
        "sasl.mechanism" | "sasl.mechanisms" => is_one_of(MECHANISMS),
        "ssl.ca.location" | "ssl.certificate.location" | "ssl.key.location" => {
            return redaction::path(Path::new(value));
        }
        _ if is_examined => value.parse::<f64>().is_ok() || is_one_of(WORDS),
        _ => false,
    };
    if is_shown { value.to_owned() } else { REDACTED.to_owned() }
}

/// Whether it is one of Kafka's security protocols.
pub(crate) fn is_security_protocol(text: &str) -> bool {
    PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(text))
}
