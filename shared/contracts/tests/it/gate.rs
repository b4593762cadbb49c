//! The gate lets our own contracts through and nothing that would break a reader.

use std::fs;
use std::path::{Path, PathBuf};

use contracts::gate::{self, Report, Rule};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn avro() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro")
}

/// A copy of the repository's contracts, to be spoiled.
struct Copy(TempDir);

const NEXT: &str = "order/OrderCancelled.v2.avsc";

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        copy_folder(&avro(), copy.0.path());
        copy
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn json(&self, file: &str) -> Json {
        serde_json::from_str(&fs::read_to_string(self.path(file)).unwrap()).unwrap()
    }

    fn write(&self, file: &str, content: &impl ToString) {
        fs::write(self.path(file), content.to_string()).unwrap();
    }

    fn spoil(&self, file: &str, spoil: impl FnOnce(&mut Json)) {
        let mut json = self.json(file);
        spoil(&mut json);
        self.write(file, &json);
    }

    /// Adds version 2 of OrderCancelled, made from version 1 by `change`, with golden bytes of its own.
    fn evolve(&self, change: impl FnOnce(&mut Json)) -> Report {
        let mut schema = self.json("order/OrderCancelled.v1.avsc");
        change(&mut schema);
        self.write(NEXT, &schema);
        let mut example = self.json("golden/order/OrderCancelled.v1.json");
        for field in schema["fields"].as_array().unwrap() {
            if let (Some(name), Some(default)) = (field["name"].as_str(), field.get("default")) {
                example.as_object_mut().unwrap().entry(name).or_insert(default.clone());
            }
        }
        self.write("golden/order/OrderCancelled.v2.json", &example);
        // What can't be published is a fault anyway.
        let _ = gate::publish(self.0.path());
        self.check()
    }

    fn check(&self) -> Report {
        gate::check(self.0.path())
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[track_caller]
fn assert_refused(report: &Report, file: &str, field: &str, rule: Rule) {
    let named =
        |fault: &&gate::Fault| fault.file == Path::new(file) && fault.field == field && fault.rule == rule;
    assert!(report.faults().any(|fault| named(&fault)), "no fault {file} {field} {rule}:\n{report}");
    assert!(report.to_string().contains(file), "{report}");
    assert!(report.clone().into_result().is_err());
}

fn field<'a>(schema: &'a mut Json, name: &str) -> &'a mut Json {
    schema["fields"].as_array_mut().unwrap().iter_mut().find(|field| field["name"] == name).unwrap()
}

fn fields(schema: &mut Json) -> &mut Vec<Json> {
    schema["fields"].as_array_mut().unwrap()
}

#[test]
fn our_own_contracts_pass() {
    let report = gate::check(&avro());
    assert!(report.clone().into_result().is_ok(), "{report}");
    assert_eq!(report.schemas.len(), 13);
}

#[test]
fn a_well_made_new_version_passes() {
    let report = Copy::new().evolve(|schema| {
        fields(schema)
            .push(json!({ "name": "refund_expected", "type": "boolean", "default": false, "doc": "d" }));
        let symbols = field(schema, "reason")["type"]["symbols"].as_array_mut().unwrap();
        symbols.push(json!("lost_in_transit"));
    });
    assert!(report.clone().into_result().is_ok(), "{report}");
}

#[test]
fn a_removed_field_without_default_is_refused() {
    let report = Copy::new().evolve(|schema| fields(schema).retain(|field| field["name"] != "reason"));
    assert_refused(&report, NEXT, "reason", Rule::Compatible);
}

#[test]
fn a_removed_field_with_default_passes() {
    let copy = Copy::new();
    let report = copy.evolve(|schema| fields(schema).retain(|field| field["name"] != "detail"));
    let incompatible = report.faults().any(|fault| fault.rule == Rule::Compatible);
    assert!(!incompatible, "{report}");
}

#[test]
fn a_changed_base_type_is_refused() {
    // Each is a change that Avro itself would read at least one way.
    for (before, after) in [("string", "bytes"), ("long", "int"), ("long", "double")] {
        let copy = Copy::new();
        let mut schema = copy.json("order/OrderCancelled.v1.avsc");
        fields(&mut schema).push(json!({ "name": "extra", "type": before, "doc": "d" }));
        let old = apache_avro::Schema::parse(&schema).unwrap();
        field(&mut schema, "extra")["type"] = json!(after);
        let new = apache_avro::Schema::parse(&schema).unwrap();
        assert!(!contracts::compatibility::problems(&old, &new).is_empty(), "{before} to {after}");
        assert!(!contracts::compatibility::problems(&new, &old).is_empty(), "{after} to {before}");
    }
    let report = Copy::new().evolve(|schema| field(schema, "sequence")["type"] = json!("int"));
    assert_refused(&report, NEXT, "sequence", Rule::Compatible);
}

#[test]
fn a_changed_logical_type_is_refused() {
    for (name, after) in [
        ("occurred_at", json!({ "type": "long", "logicalType": "timestamp-millis" })),
        ("occurred_at", json!("long")),
        ("order_id", json!("string")),
    ] {
        let report = Copy::new().evolve(|schema| field(schema, name)["type"] = after);
        assert_refused(&report, NEXT, name, Rule::Compatible);
    }
}

#[test]
fn a_changed_namespace_is_refused() {
    let report = Copy::new().evolve(|schema| schema["namespace"] = json!("tidings.orders"));
    assert_refused(&report, NEXT, "", Rule::Compatible);
    assert_refused(&report, NEXT, "", Rule::Named);
}

#[test]
fn a_removed_enum_symbol_is_refused() {
    let report = Copy::new().evolve(|schema| {
        field(schema, "reason")["type"]["symbols"]
            .as_array_mut()
            .unwrap()
            .retain(|symbol| symbol != "timed_out");
    });
    assert_refused(&report, NEXT, "reason", Rule::Compatible);
}

#[test]
fn a_symbol_added_to_an_enum_without_default_is_refused() {
    let schema = |symbols: Json| {
        let kind = json!({ "type": "enum", "name": "E", "symbols": symbols });
        let field = json!({ "name": "f", "type": kind });
        apache_avro::Schema::parse(&json!({ "type": "record", "name": "R", "fields": [field] })).unwrap()
    };
    let problems = contracts::compatibility::problems(&schema(json!(["A"])), &schema(json!(["A", "B"])));
    assert!(problems[0].detail.contains("only some values"), "{problems:?}");
}

#[test]
fn a_field_added_without_default_is_refused() {
    let report = Copy::new()
        .evolve(|schema| fields(schema).push(json!({ "name": "extra", "type": "string", "doc": "d" })));
    assert_refused(&report, NEXT, "extra", Rule::Compatible);
}

#[test]
fn a_field_that_becomes_nullable_or_another_record_is_refused() {
    let report = Copy::new().evolve(|schema| {
        *field(schema, "sequence") =
            json!({ "name": "sequence", "type": ["null", "long"], "default": null, "doc": "d" });
    });
    assert_refused(&report, NEXT, "sequence", Rule::Compatible);
    let copy = Copy::new();
    copy.spoil("order/OrderPlaced.v2.avsc", |schema| {
        field(schema, "lines")["type"]["items"]["fields"][1]["name"] = json!("amount");
    });
    assert_refused(&copy.check(), "order/OrderPlaced.v2.avsc", "lines[].quantity", Rule::Compatible);
}

#[test]
fn compatibility_is_kept_with_all_versions_not_only_the_last() {
    // Version 2 drops a field with a default, version 3 brings its name back with another type.
    let copy = Copy::new();
    copy.evolve(|schema| fields(schema).retain(|field| field["name"] != "detail"));
    let mut third = copy.json("order/OrderCancelled.v2.avsc");
    fields(&mut third).push(json!({ "name": "detail", "type": "long", "default": 0, "doc": "d" }));
    copy.write("order/OrderCancelled.v3.avsc", &third);
    let report = copy.check();
    assert_refused(&report, "order/OrderCancelled.v3.avsc", "detail", Rule::Compatible);
}

#[test]
fn what_the_house_does_not_write_is_refused() {
    type Case = (&'static str, &'static str, Rule, fn(&mut Json));
    let cases: [Case; 14] = [
        ("", "no doc on the record", Rule::Documented, |schema| schema["doc"] = json!(" ")),
        ("reason", "no doc on a field", Rule::Documented, |schema| {
            field(schema, "reason").as_object_mut().unwrap().remove("doc");
        }),
        ("reason", "no doc on an enum", Rule::Documented, |schema| {
            field(schema, "reason")["type"].as_object_mut().unwrap().remove("doc");
        }),
        ("reason", "another enum default", Rule::Typed, |schema| {
            field(schema, "reason")["type"]["default"] = json!("timed_out");
        }),
        ("fee_minor", "money that is no long", Rule::Typed, |schema| {
            fields(schema).push(json!({ "name": "fee_minor", "type": "int", "default": 0, "doc": "d" }));
        }),
        ("", "money without currency", Rule::Typed, |schema| {
            fields(schema).push(json!({ "name": "fee_minor", "type": "long", "default": 0, "doc": "d" }));
        }),
        ("rate", "a float", Rule::Typed, |schema| {
            fields(schema).push(json!({ "name": "rate", "type": "double", "default": 0.0, "doc": "d" }));
        }),
        ("other_id", "an id that is no UUID", Rule::Typed, |schema| {
            fields(schema).push(json!({ "name": "other_id", "type": "string", "default": "", "doc": "d" }));
        }),
        ("ended_at", "a time in milliseconds", Rule::Typed, |schema| {
            let kind = json!({ "type": "long", "logicalType": "timestamp-millis" });
            fields(schema).push(json!({ "name": "ended_at", "type": kind, "default": 0, "doc": "d" }));
        }),
        ("extra", "a logical type on the wrong base", Rule::Typed, |schema| {
            let kind = json!({ "type": "int", "logicalType": "timestamp-micros" });
            fields(schema).push(json!({ "name": "extra", "type": kind, "default": 0, "doc": "d" }));
        }),
        ("either", "a union of two types", Rule::Typed, |schema| {
            fields(schema)
                .push(json!({ "name": "either", "type": ["string", "long"], "default": "", "doc": "d" }));
        }),
        ("camelCase", "a field in camel case", Rule::Named, |schema| {
            fields(schema).push(json!({ "name": "camelCase", "type": "long", "default": 0, "doc": "d" }));
        }),
        ("", "another record than the file says", Rule::Named, |schema| {
            schema["name"] = json!("OrderDropped");
        }),
        ("occurred_at", "another beginning", Rule::Begins, |schema| fields(schema).swap(1, 2)),
    ];
    for (field, what, rule, spoil) in cases {
        println!("{what}");
        assert_refused(&Copy::new().evolve(spoil), NEXT, field, rule);
    }
}

#[test]
fn files_that_are_no_schemas_are_refused() {
    let copy = Copy::new();
    copy.write("order/Notes.txt", &"hello");
    copy.write("order/OrderLost.v1.avsc", &"{");
    copy.write("order/OrderFound.v1.avsc", &r#"{"type": "recorder"}"#);
    copy.write("stray.avsc", &"{}");
    let report = copy.check();
    assert_refused(&report, "order/Notes.txt", "", Rule::Named);
    assert_refused(&report, "order/OrderLost.v1.avsc", "", Rule::Parses);
    assert_refused(&report, "order/OrderFound.v1.avsc", "", Rule::Parses);
    assert_refused(&report, "stray.avsc", "", Rule::Named);
}

#[test]
fn an_empty_or_missing_folder_does_not_pass() {
    let empty = tempfile::tempdir().unwrap();
    assert!(gate::check(empty.path()).into_result().is_err());
    assert!(gate::check(&empty.path().join("nowhere")).into_result().is_err());
}

#[test]
fn a_version_that_is_left_out_is_refused() {
    let copy = Copy::new();
    copy.write("order/OrderCancelled.v3.avsc", &copy.json("order/OrderCancelled.v1.avsc"));
    assert_refused(&copy.check(), "order/OrderCancelled.v3.avsc", "", Rule::Named);
}

#[test]
fn golden_bytes_that_are_missing_or_changed_are_refused() {
    const FILE: &str = "order/OrderConfirmed.v1.avsc";
    for extension in ["hex", "json"] {
        let copy = Copy::new();
        fs::remove_file(copy.path(&format!("golden/order/OrderConfirmed.v1.{extension}"))).unwrap();
        assert_refused(&copy.check(), FILE, "", Rule::Golden);
    }
    let copy = Copy::new();
    let hex = copy.path("golden/order/OrderConfirmed.v1.hex");
    let bytes = fs::read_to_string(&hex).unwrap();
    // The last digit of a UUID; a byte too many; a byte too few; no bytes at all.
    let trimmed = bytes.trim_end();
    for changed in [
        format!("{}{}", &trimmed[..trimmed.len() - 1], if trimmed.ends_with('1') { '2' } else { '1' }),
        format!("{trimmed}00"),
        trimmed[..trimmed.len() - 2].to_owned(),
        "xyz".to_owned(),
    ] {
        fs::write(&hex, changed).unwrap();
        assert_refused(&copy.check(), FILE, "", Rule::Golden);
    }
}

#[test]
fn what_was_published_can_not_be_rewritten_or_withdrawn() {
    const FILE: &str = "order/OrderConfirmed.v1.avsc";
    // Golden bytes and example rewritten together.
    let copy = Copy::new();
    copy.spoil("golden/order/OrderConfirmed.v1.json", |example| example["sequence"] = json!(3));
    fs::remove_file(copy.path("golden/order/OrderConfirmed.v1.hex")).unwrap();
    gate::publish(copy.0.path()).unwrap();
    assert!(!copy.path("golden/order/OrderConfirmed.v1.hex").exists());
    assert_refused(&copy.check(), FILE, "", Rule::Golden);

    // A default edited in place, which no golden bytes show.
    let copy = Copy::new();
    copy.spoil("order/OrderPlaced.v2.avsc", |schema| field(schema, "currency")["default"] = json!("EUR"));
    assert_refused(&copy.check(), "order/OrderPlaced.v2.avsc", "", Rule::Published);

    // A schema deleted.
    let copy = Copy::new();
    fs::remove_file(copy.path("stock/StockLevelLow.v1.avsc")).unwrap();
    assert_refused(&copy.check(), "golden/published.txt", "", Rule::Published);
    assert_refused(&copy.check(), "golden/stock/StockLevelLow.v1.hex", "", Rule::Golden);
}

#[test]
fn layout_is_no_change() {
    let copy = Copy::new();
    let schema = fs::read_to_string(copy.path("order/OrderPlaced.v2.avsc")).unwrap();
    copy.write("order/OrderPlaced.v2.avsc", &schema.replace("\n", "\n\t "));
    assert!(copy.check().into_result().is_ok());
}
