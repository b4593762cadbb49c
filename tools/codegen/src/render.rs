//! Rust text for what the model holds; rustfmt does the layout.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{bail, ensure};
use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, RecordField, RecordSchema, UuidSchema};

use crate::model::{Catalogue, Module};

const NOTE: &str = "// Generated from avro/ by `make generate`; edits are overwritten.\n";

/// Records that hold personal data: what prints an event must not print them.
const PERSONAL: [&str; 2] = ["Recipient", "Address"];

/// Fields that hold a secret: it is enough to charge the customer.
const SECRET: [&str; 1] = ["payment_method"];

/// One aggregate's types.
pub(crate) fn module(module: &Module) -> anyhow::Result<String> {
    let mut out = format!(
        "//! Events of `tidings.{0}`, from the newest version of every schema in `avro/{0}`.\n{NOTE}
use chrono::{{DateTime, Utc}};
use serde::{{Deserialize, Serialize}};
use uuid::Uuid;

use super::{{AnyEvent, Event}};
use crate::topics::Topic;

",
        module.name
    );
    for symbols in module.enums.values() {
        out += &enumeration(symbols)?;
    }
    for record in module.records.values() {
        out += &structure(record)?;
    }
    for event in module.events.values() {
        out += &structure(&event.newest)?;
        out += &event_impl(module, &event.newest)?;
    }
    Ok(out)
}

/// What all events have in common, and what is kept of a schema. Beside `AnyEvent`, because each names the other.
const COMMON: &str = "
/// One integration event: a fact in the past tense, published by the service that owns its aggregate.
pub trait Event: Sized + Send + Sync + 'static {
    /// The record's full name, such as `tidings.order.OrderPlaced`; the header `ce_type`.
    const TYPE: &'static str;
    /// The topic that carries it.
    const TOPIC: Topic;

    /// The event's id, a UUIDv7; consumers apply each id once.
    fn event_id(&self) -> Uuid;
    /// When the fact happened.
    fn occurred_at(&self) -> DateTime<Utc>;
    /// The record's key: the aggregate's id as text.
    fn key(&self) -> String;
    /// 1, 2, 3, ... within topic and key.
    fn sequence(&self) -> i64;
    /// This event among all others.
    fn into_any(self) -> AnyEvent;
    /// This event, if `any` is one.
    fn from_any(any: &AnyEvent) -> Option<&Self>;
}

/// A schema as it stands in `avro/`.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) event_type: &'static str,
    pub(crate) version: u32,
    pub(crate) topic: Topic,
    pub(crate) text: &'static str,
}
";

/// The modules, `AnyEvent`, and the list of all schemas.
pub(crate) fn root(catalogue: &Catalogue) -> String {
    let mut out = format!(
        "//! Rust types of the newest version of every schema in `avro/`, and all schemas as text.\n{NOTE}\n"
    );
    let events: Vec<(&str, &str)> = catalogue
        .modules
        .values()
        .flat_map(|module| module.events.keys().map(|event| (module.name.as_str(), event.as_str())))
        .collect();
    for module in catalogue.modules.keys() {
        let _ = writeln!(out, "pub mod {module};");
    }
    out += "
        use std::io::Read;

        use apache_avro::reader::datum::GenericDatumReader;
        use apache_avro::types::Value;
        use chrono::{DateTime, Utc};
        use serde::Serialize;
        use uuid::Uuid;

        use crate::topics::Topic;
";
    out += COMMON;
    out += "
        /// Any integration event of the system.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum AnyEvent {";
    for (module, event) in &events {
        let _ = write!(out, "/// `tidings.{module}.{event}`\n{event}({module}::{event}),");
    }
    out += "}\n\nimpl AnyEvent {";
    for (doc, name, result, expression) in [
        ("The event's id.", "event_id", "Uuid", "event.event_id()"),
        ("When the fact happened.", "occurred_at", "DateTime<Utc>", "event.occurred_at()"),
        ("The record's key.", "key", "String", "event.key()"),
        ("1, 2, 3, ... within topic and key.", "sequence", "i64", "event.sequence()"),
    ] {
        let _ = write!(out, "/// {doc}\n#[must_use]\npub fn {name}(&self) -> {result} {{ match self {{");
        for (_, event) in &events {
            let _ = write!(out, "Self::{event}(event) => {expression},");
        }
        out += "}}\n\n";
    }
    for (doc, name, result, constant) in [
        ("The record's full name.", "event_type", "&'static str", "TYPE"),
        ("The topic that carries it.", "topic", "Topic", "TOPIC"),
    ] {
        let _ =
            write!(out, "/// {doc}\n#[must_use]\npub const fn {name}(&self) -> {result} {{ match self {{");
        for (module, event) in &events {
            let _ = write!(out, "Self::{event}(_) => {module}::{event}::{constant},");
        }
        out += "}}\n\n";
    }
    out += &key_accessors(catalogue);
    out += "/// The event of this type that an Avro value, resolved to the type's newest schema, holds; `None` when the
        /// type is not one of ours.
        pub(crate) fn from_avro(event_type: &str, value: &Value) -> Option<Result<Self, apache_avro::Error>> {
            match event_type {";
    for (module, event) in &events {
        let _ = write!(
            out,
            "{module}::{event}::TYPE => Some(apache_avro::from_value(value).map(Self::{event})),"
        );
    }
    out += "_ => None, } }

        /// The event of this type that these bytes hold, which were written with the type's newest schema; `None` when the
        /// type is not one of ours.
        pub(crate) fn from_bytes(
            event_type: &str,
            reader: &GenericDatumReader<'_>,
            bytes: &mut impl Read,
        ) -> Option<Result<Self, apache_avro::Error>> {
            match event_type {";
    for (module, event) in &events {
        let _ = write!(out, "{module}::{event}::TYPE => Some(reader.read_deser(bytes).map(Self::{event})),");
    }
    out += "_ => None, } } }

        /// Every version of every schema, oldest first within an event.
        pub(crate) const SOURCES: &[Source] = &[";
    for module in catalogue.modules.values() {
        for (name, event) in &module.events {
            for version in &event.versions {
                let _ = write!(
                    out,
                    "Source {{ event_type: {0}::{name}::TYPE, version: {version}, topic: {0}::{name}::TOPIC,
                     text: include_str!(\"../../../avro/{0}/{name}.v{version}.avsc\") }},",
                    module.name
                );
            }
        }
    }
    out += "];\n";
    out
}

/// An accessor per name of a key: the value in events of aggregates with that key, none in others.
fn key_accessors(catalogue: &Catalogue) -> String {
    let mut events_by_key: BTreeMap<&str, (bool, Vec<&str>)> = BTreeMap::new();
    for (name, event) in catalogue.modules.values().flat_map(|module| &module.events) {
        let Some(key) = event.newest.fields.get(2) else { continue };
        let is_uuid = matches!(key.schema, Schema::Uuid(_));
        events_by_key.entry(&key.name).or_insert((is_uuid, Vec::new())).1.push(name);
    }
    let mut out = String::new();
    for (key, (is_uuid, events)) in events_by_key {
        let (result, prefix) = if is_uuid { ("Uuid", "") } else { ("&str", "&") };
        let _ = write!(
            out,
            "/// The `{key}` of an event whose key it is.
             pub fn {key}(&self) -> Option<{result}> {{ match self {{"
        );
        for event in events {
            let _ = write!(out, "Self::{event}(event) => Some({prefix}event.{key}),");
        }
        out += "_ => None, }}\n\n";
    }
    out
}

fn docs(text: Option<&String>, what: &str) -> anyhow::Result<String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { bail!("{what} has no doc") };
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.len() + word.len() > 100 {
            let _ = writeln!(out, "///{line}");
            line.clear();
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(out, "///{line}");
    Ok(out)
}

fn enumeration(schema: &EnumSchema) -> anyhow::Result<String> {
    let name = schema.name.name();
    let mut out = docs(schema.doc.as_ref(), name)?;
    let _ = write!(
        out,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]\npub enum {name} {{"
    );
    for symbol in &schema.symbols {
        let _ = write!(out, "/// `{symbol}`\n#[serde(rename = \"{symbol}\")]\n{},", pascal_case(symbol));
    }
    out += "}\n\n";
    Ok(out)
}

/// `out_of_stock` and `UNKNOWN` as `OutOfStock` and `Unknown`.
fn pascal_case(symbol: &str) -> String {
    symbol
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_ascii_uppercase().to_string() + &letters.as_str().to_ascii_lowercase()
            })
        })
        .collect()
}

fn structure(record: &RecordSchema) -> anyhow::Result<String> {
    let name = record.name.name();
    let mut out = docs(record.doc.as_ref(), name)?;
    let is_hidden = |field: &&RecordField| PERSONAL.contains(&name) || SECRET.contains(&field.name.as_str());
    let (hidden, shown): (Vec<_>, Vec<_>) = record.fields.iter().partition(is_hidden);
    let debug = if hidden.is_empty() { "Debug, " } else { "" };
    let _ =
        write!(out, "#[derive(Clone, {debug}PartialEq, Eq, Serialize, Deserialize)]\npub struct {name} {{");
    for field in &record.fields {
        out += &docs(field.doc.as_ref(), &format!("{name}.{}", field.name))?;
        if matches!(field.schema, Schema::TimestampMicros) {
            out += "#[serde(with = \"chrono::serde::ts_microseconds\")]\n";
        }
        let _ = writeln!(out, "pub {}: {},", field.name, rust_type(&field.schema)?);
    }
    out += "}\n\n";
    if !hidden.is_empty() {
        let field = |field: &&RecordField| format!(".field(\"{0}\", &self.{0})", field.name);
        let shown: String = shown.iter().map(field).collect();
        let _ = write!(
            out,
            "/// Without what is personal or secret.\nimpl std::fmt::Debug for {name} {{
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{
                    f.debug_struct(\"{name}\"){shown}.finish_non_exhaustive()
                }}
            }}\n\n"
        );
    }
    Ok(out)
}

fn rust_type(schema: &Schema) -> anyhow::Result<String> {
    Ok(match schema {
        Schema::Boolean => "bool".to_owned(),
        Schema::Int => "i32".to_owned(),
        Schema::Long => "i64".to_owned(),
        Schema::Float => "f32".to_owned(),
        Schema::Double => "f64".to_owned(),
        Schema::String => "String".to_owned(),
        Schema::Uuid(UuidSchema::String) => "Uuid".to_owned(),
        Schema::TimestampMicros => "DateTime<Utc>".to_owned(),
        Schema::Record(record) => record.name.name().to_owned(),
        Schema::Enum(symbols) => symbols.name.name().to_owned(),
        Schema::Ref { name } => name.name().to_owned(),
        Schema::Array(array) => format!("Vec<{}>", rust_type(&array.items)?),
        Schema::Union(union) => match union.variants() {
            [Schema::Null, Schema::TimestampMicros] => bail!("an optional time needs a rule of its own"),
            [Schema::Null, some] => format!("Option<{}>", rust_type(some)?),
            _ => bail!("a union must be null and one other type: {union:?}"),
        },
        other => bail!("no Rust type is known for {other:?}"),
    })
}

fn event_impl(module: &Module, record: &RecordSchema) -> anyhow::Result<String> {
    let name = record.name.name();
    let first: Vec<&str> = record.fields.iter().take(4).map(|field| field.name.as_str()).collect();
    ensure!(
        matches!(first[..], ["event_id", "occurred_at", _, "sequence"]),
        "{name} must begin with event_id, occurred_at, the aggregate's id, sequence"
    );
    let key = key_expression(&record.fields[2])?;
    Ok(format!(
        "impl Event for {name} {{
            const TYPE: &'static str = \"tidings.{}.{name}\";
            const TOPIC: Topic = Topic::{};

            fn event_id(&self) -> Uuid {{ self.event_id }}
            fn occurred_at(&self) -> DateTime<Utc> {{ self.occurred_at }}
            fn key(&self) -> String {{ {key} }}
            fn sequence(&self) -> i64 {{ self.sequence }}
            fn into_any(self) -> AnyEvent {{ AnyEvent::{name}(self) }}
            fn from_any(any: &AnyEvent) -> Option<&Self> {{
                match any {{ AnyEvent::{name}(event) => Some(event), _ => None }}
            }}
        }}\n\n",
        module.name,
        module.topic()?
    ))
}

fn key_expression(field: &RecordField) -> anyhow::Result<String> {
    Ok(match field.schema {
        Schema::Uuid(_) => format!("self.{}.to_string()", field.name),
        Schema::String => format!("self.{}.clone()", field.name),
        _ => bail!("{} can't be a key: neither a UUID nor a string", field.name),
    })
}
