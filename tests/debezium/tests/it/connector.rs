//! The connector for Kafka Connect says what the configuration of Debezium Server says.

use std::collections::BTreeMap;

const CONNECTOR: &str = include_str!("../../../../deploy/debezium/connector.json");

/// What only one of the two has: Debezium Server keeps offsets itself and has a producer of its own, Kafka Connect's are the worker's.
const OF_THE_SERVER: [&str; 4] = ["offset.", "sink.", "format.", "quarkus."];

/// What Kafka Connect calls Debezium Server's formats.
const OF_CONNECT: [(&str, &str); 7] = [
    ("header.converter", "org.apache.kafka.connect.storage.StringConverter"),
    ("key.converter", "io.debezium.converters.BinaryDataConverter"),
    ("key.converter.delegate.converter.type", "org.apache.kafka.connect.json.JsonConverter"),
    ("key.converter.delegate.converter.type.schemas.enable", "false"),
    ("value.converter", "io.debezium.converters.BinaryDataConverter"),
    ("value.converter.delegate.converter.type", "org.apache.kafka.connect.json.JsonConverter"),
    ("value.converter.delegate.converter.type.schemas.enable", "false"),
];

/// What is the deployment's, with an example.
const OF_THE_DEPLOYMENT: [&str; 5] =
    ["database.hostname", "database.port", "database.user", "database.password", "database.dbname"];

#[test]
fn the_connector_and_the_server_have_the_same_settings() {
    let connector: BTreeMap<String, String> = serde_json::from_str(CONNECTOR).unwrap();
    let mut expected: BTreeMap<String, String> =
        OF_CONNECT.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for line in debezium::CONFIGURATION.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').unwrap();
        let name = name.strip_prefix("debezium.").unwrap_or(name);
        let name = name.strip_prefix("source.").unwrap_or(name);
        if !OF_THE_SERVER.iter().any(|prefix| name.starts_with(prefix)) {
            // A backslash is doubled in a file of properties.
            expected.insert(name.to_owned(), value.replace("\\\\", "\\"));
        }
    }
    for name in OF_THE_DEPLOYMENT {
        expected.insert(name.to_owned(), connector[name].clone());
    }
    assert_eq!(connector, expected);
}
