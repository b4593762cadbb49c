//! Every schema of `avro/`, compiled into the binary and parsed once.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::schema::ResolvedSchema;

use crate::generated::{SOURCES, Source};
use crate::topics::Topic;

/// A schema ready for use.
pub(crate) struct Bundled {
    pub(crate) event_type: &'static str,
    pub(crate) version: u32,
    pub(crate) topic: Topic,
    /// As registered: `avro/`'s text without the white space.
    pub(crate) text: String,
    pub(crate) schema: &'static Schema,
    /// The names that `schema` defines, for resolving references.
    pub(crate) names: ResolvedSchema<'static>,
}

/// Every version of every schema, oldest first within an event.
pub(crate) fn all() -> &'static [Bundled] {
    static ALL: LazyLock<Vec<Bundled>> = LazyLock::new(|| SOURCES.iter().map(Bundled::parse).collect());
    &ALL
}

/// The newest version of an event's schema: what we write, and what everything read is resolved to.
pub(crate) fn newest(event_type: &str) -> Option<&'static Bundled> {
    all().iter().rfind(|bundled| bundled.event_type == event_type)
}

impl Bundled {
    #[expect(clippy::expect_used, reason = "the gate parses every schema of avro/ before anything is merged")]
    fn parse(source: &Source) -> Self {
        let schema = Schema::parse_str(source.text).expect("avro/ holds Avro schemas");
        let schema: &'static Schema = Box::leak(Box::new(schema));
        Self {
            event_type: source.event_type,
            version: source.version,
            topic: source.topic,
            text: without_white_space(source.text),
            schema,
            names: ResolvedSchema::try_from(schema).expect("every schema of avro/ stands alone"),
        }
    }
}

/// The JSON text without white space between its tokens, so that layout never makes a new version in a registry.
/// (Parsing and printing would reorder the attributes, depending on serde_json's features.)
pub(crate) fn without_white_space(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            if in_string {
                in_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
                true
            } else {
                in_string = c == '"';
                !c.is_ascii_whitespace()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_is_removed() {
        assert_eq!(without_white_space("{ \"a b\" :\n[\"\\\" c\\\\\", 1 ] }\n"), r#"{"a b":["\" c\\",1]}"#);
        for bundled in all() {
            let registered: serde_json::Value = serde_json::from_str(&bundled.text).unwrap();
            assert_eq!(Schema::parse(&registered).unwrap(), *bundled.schema);
        }
    }

    #[test]
    fn the_newest_version_of_order_placed_is_the_second() {
        let newest = newest("tidings.order.OrderPlaced").unwrap();
        assert_eq!((newest.version, newest.topic), (2, Topic::Orders));
        assert!(super::newest("tidings.order.OrderForgotten").is_none());
    }
}
