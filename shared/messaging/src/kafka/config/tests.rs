//! Which properties clients get, and which are refused.

use super::super::authorities::tests::{NEW, OLD};
use super::*;

#[test]
fn secrets_never_print() {
    let mut config = KafkaConfig::default();
    config.properties.insert("sasl.password".into(), "hunter2".into());
    config.properties.insert("ssl.key.pem".into(), "hunter2".into());
    config.properties.insert("sasl.mechanism".into(), "PLAIN".into());

    let shown = format!("{config:?}");

    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("PLAIN"), "{shown}");
}

#[test]
fn an_address_that_is_none_is_refused_and_not_shown() {
    for servers in ["postgres://u:hunter2@db:5432/x", "u:hunter2@broker:9092", "broker:hunter2", ""] {
        let refused = KafkaConfig::new(servers).check().unwrap_err().to_string();
        assert!(refused.contains("kafka.bootstrap_servers"), "{refused}");
        assert!(!format!("{refused} {:?}", KafkaConfig::new(servers)).contains("hunter2"), "{refused}");
    }
    for servers in ["broker:9092", "a:1,b:2", "SASL_SSL://a.example:9093, b", "[::1]:9092", "127.0.0.1:9"] {
        KafkaConfig::new(servers).check().unwrap();
    }
}

fn checked(name: &str, value: &str) -> Result<(), String> {
    let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let config = KafkaConfig { properties, ..KafkaConfig::default() };
    config.check().map_err(|error| error.to_string())
}

#[test]
fn a_property_that_a_promise_stands_on_is_refused_by_its_name_and_with_the_reason() {
    for (name, value, reason) in [
        ("acks", "0", "acknowledged"),
        ("transactional.id", "shop", "transaction"),
        ("group.instance.id", "order-1", "keeps its partitions"),
        ("isolation.level", "read_uncommitted", "aborted"),
        ("enable.partition.eof", "true", "not among"),
        ("retries", "3", "gives up"),
        ("message.send.max.retries", "3", "gives up"),
        ("max.in.flight", "10", "order"),
        ("enable.idempotence", "false", "twice"),
        ("partitioner", "random", "partition"),
        ("bootstrap.servers", "elsewhere:9092", "kafka.bootstrap_servers"),
        ("client.id", "another", "kafka.client_id"),
        ("message.max.bytes", "1000", "1000000"),
        ("message.max.bytes", "a lot", "1000000"),
        ("delivery.report.only.error", "true", "not among"),
        ("plugin.library.paths", "/tmp/x.so", "not among"),
        ("no.such.property", "1", "not among"),
    ] {
        let refused = checked(name, value).expect_err(name);
        assert!(refused.contains(name) && refused.contains(reason), "{name}: {refused}");
    }
}

#[test]
fn clients_trust_all_authorities_of_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    for (file, certificate) in [("ca.crt", NEW), ("ca-2026-01-01T00-00-00Z.crt", OLD)] {
        std::fs::write(directory.path().join(file), certificate).unwrap();
    }
    let location = directory.path().display().to_string();
    let properties = BTreeMap::from([
        ("security.protocol".to_owned(), "ssl".to_owned()),
        ("ssl.ca.location".to_owned(), location),
    ]);
    let config = KafkaConfig { properties, ..KafkaConfig::default() };
    let client = config.consumer("test", "test");
    let pem = client.get("ssl.ca.pem").unwrap();
    assert!(pem.contains(OLD) && pem.contains(NEW) && client.get("ssl.ca.location").is_none(), "{pem}");
    // librdkafka reads them; it refuses what it can't read.
    client.create::<rdkafka::consumer::BaseConsumer>().unwrap();
    let mut broken = client.clone();
    broken.set("ssl.ca.pem", "no certificate");
    assert!(broken.create::<rdkafka::consumer::BaseConsumer>().is_err());
}

#[test]
fn messages_are_never_limited_below_what_the_outbox_accepts() {
    let limit = |config: &KafkaConfig| config.properties["message.max.bytes"].clone();
    let config = KafkaConfig::default().with_messages_of(3_000_000).unwrap();
    assert_eq!(limit(&config), "3000000");
    let larger = config.with_messages_of(2_000_000).unwrap();
    assert_eq!(limit(&larger), "3000000");
    let refused = larger.with_messages_of(4_000_000).unwrap_err().to_string();
    assert!(refused.contains("message.max.bytes") && refused.contains("max_message_bytes"), "{refused}");
}

#[test]
fn how_the_broker_is_reached_and_what_is_fetched_at_once_is_a_choice() {
    for (name, value) in [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.mechanisms", "SCRAM-SHA-512"),
        ("sasl.username", "shop"),
        ("sasl.password", "secret"),
        ("sasl.oauthbearer.token.endpoint.url", "https://example.com"),
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.key.pem", "key"),
        ("enable.ssl.certificate.verification", "true"),
        ("broker.address.family", "v4"),
        ("client.rack", "eu-1a"),
        ("socket.timeout.ms", "10000"),
        ("reconnect.backoff.max.ms", "1000"),
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "1000"),
        ("max.poll.interval.ms", "120000"),
        ("topic.metadata.refresh.interval.ms", "500"),
        ("topic.metadata.propagation.max.ms", "2000"),
        ("fetch.max.bytes", "1000000"),
        ("compression.type", "none"),
        ("linger.ms", "5"),
        ("message.max.bytes", "2000000"),
    ] {
        assert_eq!(checked(name, value), Ok(()), "{name}");
    }
}
