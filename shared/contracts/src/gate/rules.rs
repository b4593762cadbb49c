//! How the house names, documents and types its events.

use apache_avro::Schema;
use apache_avro::schema::{Alias, EnumSchema, Name, RecordField, RecordSchema, UuidSchema};
use serde_json::Value as Json;

use crate::compatibility::describe;
use crate::gate::Version;
use crate::gate::report::{Report, Rule};

/// Fields that end in `_id` but hold what others outside named.
const FOREIGN_IDS: [&str; 2] = ["customer_id", "transaction_id"];

/// The symbol that stands for all that a reader doesn't know yet.
const UNKNOWN: &str = "UNKNOWN";

struct Rules<'a> {
    version: &'a Version,
    report: &'a mut Report,
    has_amounts: bool,
}

/// Checks one schema by itself.
pub(super) fn check(version: &Version, is_newest: bool, report: &mut Report) {
    let mut rules = Rules { version, report, has_amounts: false };
    rules.logical_types("", &version.json);
    let Schema::Record(record) = &version.schema else {
        rules.fault("", Rule::Typed, "an event is a record");
        return;
    };
    if record.name.name() != version.event {
        rules.fault(
            "",
            Rule::Named,
            format!("the record is {}, the file says otherwise", record.name.name()),
        );
    }
    rules.beginning(record);
    rules.record("", record);
    // Older versions are what they are: OrderPlaced v1 named no currency.
    let has_currency = record.fields.iter().any(|field| field.name == "currency");
    if rules.has_amounts && !has_currency && is_newest {
        rules.fault("", Rule::Typed, "amounts in minor units need a field currency beside them");
    }
}

impl Rules<'_> {
    fn fault(&mut self, field: &str, rule: Rule, detail: impl Into<String>) {
        self.report.fault(&self.version.file, field, rule, detail);
    }

    fn beginning(&mut self, record: &RecordSchema) {
        let key =
            if self.version.folder == "stock" { ("sku", "string") } else { ("order_id", "string uuid") };
        let wanted = [
            ("event_id", "string uuid"),
            ("occurred_at", "long timestamp-micros"),
            key,
            ("sequence", "long"),
        ];
        for (index, (name, kind)) in wanted.into_iter().enumerate() {
            let found = record.fields.get(index).map(|field| (field.name.as_str(), describe(&field.schema)));
            if found.as_ref().is_none_or(|(other, of)| *other != name || of != kind) {
                self.fault(name, Rule::Begins, format!("field {} must be {name}, a {kind}", index + 1));
            }
        }
    }

    fn record(&mut self, path: &str, record: &RecordSchema) {
        self.name(path, &record.name, record.aliases.as_ref());
        self.doc(path, record.doc.as_ref());
        for field in &record.fields {
            let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
            self.field(&path, field);
        }
    }

    fn field(&mut self, path: &str, field: &RecordField) {
        let name = field.name.as_str();
        if !is_snake_case(name) {
            self.fault(path, Rule::Named, "a field is named in snake_case");
        }
        if !field.aliases.is_empty() {
            self.fault(path, Rule::Named, "a field keeps its name permanently: no aliases");
        }
        self.doc(path, field.doc.as_ref());
        let inner = match &field.schema {
            Schema::Union(union) => match union.variants() {
                [Schema::Null, inner] if field.default == Some(Json::Null) => inner,
                _ => {
                    self.fault(
                        path,
                        Rule::Typed,
                        "a union is null and one other type, with the default null",
                    );
                    return;
                }
            },
            schema => schema,
        };
        let kind = describe(inner);
        let wanted = if name.ends_with("_minor") {
            self.has_amounts = true;
            Some("long")
        } else if name.ends_with("_id") && !FOREIGN_IDS.contains(&name) {
            Some("string uuid")
        } else if name.ends_with("_at") {
            Some("long timestamp-micros")
        } else if name == "currency" {
            Some("string")
        } else {
            None
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != kind) {
            self.fault(path, Rule::Typed, format!("by its name it must be a {wanted}, not a {kind}"));
        }
        self.kind(path, inner);
    }

    fn kind(&mut self, path: &str, schema: &Schema) {
        match schema {
            Schema::Boolean
            | Schema::Int
            | Schema::Long
            | Schema::String
            | Schema::TimestampMicros
            | Schema::Uuid(UuidSchema::String)
            | Schema::Ref { .. } => {}
            Schema::Record(record) => self.record(path, record),
            Schema::Enum(symbols) => self.enumeration(path, symbols),
            Schema::Array(array) => self.kind(&format!("{path}[]"), &array.items),
            other => self.fault(path, Rule::Typed, format!("{} is no type of ours", describe(other))),
        }
    }

    fn enumeration(&mut self, path: &str, symbols: &EnumSchema) {
        self.name(path, &symbols.name, symbols.aliases.as_ref());
        self.doc(path, symbols.doc.as_ref());
        if symbols.default.as_deref() != Some(UNKNOWN) {
            self.fault(
                path,
                Rule::Typed,
                format!("an enum has the default {UNKNOWN} for symbols yet to come"),
            );
        }
    }

    fn name(&mut self, path: &str, name: &Name, aliases: Option<&Vec<Alias>>) {
        let namespace = format!("tidings.{}", self.version.folder);
        if name.namespace() != Some(namespace.as_str()) {
            let found = name.namespace().unwrap_or("none");
            self.fault(path, Rule::Named, format!("the namespace is {namespace} by its folder, not {found}"));
        }
        if !is_pascal_case(name.name()) {
            self.fault(path, Rule::Named, format!("{} is not in PascalCase", name.name()));
        }
        if aliases.is_some_and(|aliases| !aliases.is_empty()) {
            self.fault(path, Rule::Named, "a type keeps its name permanently: no aliases");
        }
    }

    fn doc(&mut self, path: &str, doc: Option<&String>) {
        if doc.is_none_or(|doc| doc.trim().is_empty()) {
            self.fault(path, Rule::Documented, "no doc says what it means");
        }
    }

    /// Avro ignores a logical type that does not fit its base type; the author meant it.
    fn logical_types(&mut self, path: &str, json: &Json) {
        match json {
            Json::Object(parts) => {
                if let Some(logical) = parts.get("logicalType") {
                    let base = parts.get("type").and_then(Json::as_str).unwrap_or_default();
                    if !matches!(
                        (base, logical.as_str()),
                        ("string", Some("uuid")) | ("long", Some("timestamp-micros"))
                    ) {
                        self.fault(
                            path,
                            Rule::Typed,
                            format!("the logical type {logical} on {base} is none of ours"),
                        );
                    }
                }
                let path = match (parts.get("name").and_then(Json::as_str), parts.contains_key("fields")) {
                    (Some(name), false) if path.is_empty() => name.to_owned(),
                    (Some(name), false) => format!("{path}.{name}"),
                    _ => path.to_owned(),
                };
                for part in parts.values() {
                    self.logical_types(&path, part);
                }
            }
            Json::Array(items) => {
                for item in items {
                    self.logical_types(path, item);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_pascal_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}
