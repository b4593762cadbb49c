//! Whether one version of a schema can follow another: Avro's own rules in both directions, and stricter ones of ours.
//!
//! apache-avro 0.22 calls some changes compatible that lose meaning: another logical type, another namespace, string
//! and bytes exchanged, an enum symbol removed where the enum has a default. It also answers `Partial` where only
//! some values can be read. Here all of these are incompatible, and so are changed base types, which Avro would
//! promote in one direction only.

use std::collections::HashMap;
use std::fmt;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, Name, RecordSchema, ResolvedSchema};
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

/// One reason against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field's path within the record, such as `lines[].sku`; empty for the record itself.
    pub field: String,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "the record" } else { &self.field };
        write!(f, "{field}: {}", self.detail)
    }
}

/// All problems in one line.
pub(crate) fn in_one_line(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// What makes `newer` unable to follow `older` in a FULL_TRANSITIVE subject; nothing when it may.
pub fn problems(older: &Schema, newer: &Schema) -> Vec<Problem> {
    let mut problems = Check::run(Mode::Evolution, older, newer);
    if problems.is_empty() {
        problems = by_avro("the newer version can't read the older", older, newer);
        problems.extend(by_avro("the older version can't read the newer", newer, older));
    }
    problems
}

/// What keeps a reader with the schema `reader` from reading what was written with `writer`.
pub fn can_read(writer: &Schema, reader: &Schema) -> Vec<Problem> {
    let mut problems = Check::run(Mode::Reading, writer, reader);
    if problems.is_empty() {
        problems = by_avro("Avro can't resolve it", writer, reader);
    }
    problems
}

/// Whether the two describe the same bytes and the same meaning; docs and defaults don't count.
pub fn is_identical(one: &Schema, other: &Schema) -> bool {
    one == other && Check::run(Mode::Identity, one, other).is_empty()
}

fn by_avro(what: &str, writer: &Schema, reader: &Schema) -> Vec<Problem> {
    let problem = |why: String| vec![Problem { field: String::new(), detail: format!("{what}: {why}") }];
    match SchemaCompatibility::can_read(writer, reader) {
        Ok(Compatibility::Full) => Vec::new(),
        Ok(Compatibility::Partial) => problem("only some values would be readable".to_owned()),
        Err(error) => problem(error.to_string()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// `new` may follow `old`, both ways readable, nothing forgotten.
    Evolution,
    /// `new` reads what `old` wrote.
    Reading,
    /// Nothing differs.
    Identity,
}

struct Check<'a> {
    mode: Mode,
    old_names: HashMap<Name, &'a Schema>,
    new_names: HashMap<Name, &'a Schema>,
    /// Pairs of named types already compared: recursive types end here.
    seen: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn run(mode: Mode, old: &'a Schema, new: &'a Schema) -> Vec<Problem> {
        let (Ok(old_names), Ok(new_names)) = (ResolvedSchema::try_from(old), ResolvedSchema::try_from(new))
        else {
            let detail = "a name is not defined within the schema".to_owned();
            return vec![Problem { field: String::new(), detail }];
        };
        let mut check = Self {
            mode,
            old_names: old_names.get_names().clone(),
            new_names: new_names.get_names().clone(),
            seen: Vec::new(),
            problems: Vec::new(),
        };
        check.compare("", old, new);
        check.problems
    }

    fn refuse(&mut self, path: &str, what: impl fmt::Display) {
        self.problems.push(Problem { field: path.to_owned(), detail: what.to_string() });
    }

    fn compare(&mut self, path: &str, old: &'a Schema, new: &'a Schema) {
        let old = follow(&self.old_names, old);
        let new = follow(&self.new_names, new);
        if let (Some(old_name), Some(new_name)) = (old.name(), new.name()) {
            let pair = (old_name.fullname(None), new_name.fullname(None));
            if pair.0 != pair.1 {
                self.refuse(path, format_args!("the name {} became {}", pair.0, pair.1));
            }
            if self.seen.contains(&pair) {
                return;
            }
            self.seen.push(pair);
        }
        match (old, new) {
            (Schema::Record(old), Schema::Record(new)) => self.compare_records(path, old, new),
            (Schema::Enum(old), Schema::Enum(new)) => self.compare_enums(path, old, new),
            (Schema::Array(old), Schema::Array(new)) => {
                self.compare(&format!("{path}[]"), &old.items, &new.items);
            }
            (Schema::Map(old), Schema::Map(new)) => {
                self.compare(&format!("{path}{{}}"), &old.types, &new.types);
            }
            (Schema::Union(old), Schema::Union(new)) => {
                if old.variants().len() != new.variants().len() {
                    self.refuse(path, "the branches of the union changed");
                    return;
                }
                for (old, new) in old.variants().iter().zip(new.variants()) {
                    self.compare(path, old, new);
                }
            }
            _ => self.compare_leaves(path, old, new),
        }
    }

    fn compare_records(&mut self, path: &str, old: &'a RecordSchema, new: &'a RecordSchema) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for field in &old.fields {
            let path = below(&field.name);
            match new.fields.iter().find(|other| other.name == field.name) {
                Some(other) => self.compare(&path, &field.schema, &other.schema),
                None if self.mode == Mode::Identity => self.refuse(&path, "the field is missing"),
                None if self.mode == Mode::Evolution && field.default.is_none() => {
                    self.refuse(
                        &path,
                        "the field was removed and had no default: old readers can't do without it",
                    );
                }
                None => {}
            }
        }
        for field in &new.fields {
            let is_new = old.fields.iter().all(|other| other.name != field.name);
            if is_new && (field.default.is_none() || self.mode == Mode::Identity) {
                self.refuse(
                    &below(&field.name),
                    "the field was added without a default: what was written before can't be read",
                );
            }
        }
    }

    fn compare_enums(&mut self, path: &str, old: &EnumSchema, new: &EnumSchema) {
        if self.mode == Mode::Identity {
            if old.symbols != new.symbols {
                self.refuse(path, "the symbols differ");
            }
            return;
        }
        for symbol in old.symbols.iter().filter(|symbol| !new.symbols.contains(symbol)) {
            // A reader may meet symbols newer than itself and takes its default for them.
            if self.mode == Mode::Evolution || new.default.is_none() {
                self.refuse(path, format_args!("the symbol {symbol} was removed"));
            }
        }
        if self.mode == Mode::Evolution && old.default != new.default {
            self.refuse(path, "the enum's default changed");
        }
    }

    /// Equal base type and equal logical type: both are in the variant of `Schema`.
    fn compare_leaves(&mut self, path: &str, old: &Schema, new: &Schema) {
        let (old, new) = (describe(old), describe(new));
        if old != new {
            self.refuse(path, format_args!("the type {old} became {new}"));
        }
    }
}

fn follow<'a>(names: &HashMap<Name, &'a Schema>, schema: &'a Schema) -> &'a Schema {
    match schema {
        Schema::Ref { name } => names.get(name).copied().unwrap_or(schema),
        _ => schema,
    }
}

/// A type in the words of an .avsc file.
pub(crate) fn describe(schema: &Schema) -> String {
    match schema {
        Schema::Record(record) => format!("record {}", record.name.fullname(None)),
        Schema::Enum(symbols) => format!("enum {}", symbols.name.fullname(None)),
        Schema::Ref { name } => name.fullname(None),
        Schema::Array(_) => "array".to_owned(),
        Schema::Map(_) => "map".to_owned(),
        Schema::Union(union) => {
            format!("[{}]", union.variants().iter().map(describe).collect::<Vec<_>>().join(", "))
        }
        other => match serde_json::to_value(other) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(serde_json::Value::Object(parts)) => ["type", "logicalType", "size", "precision", "scale"]
                .iter()
                .filter_map(|part| parts.get(*part))
                .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(" "),
            _ => format!("{other:?}"),
        },
    }
}
