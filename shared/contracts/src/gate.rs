//! The contract gate: nothing gets past it that an old reader can't read. Works offline, on files alone.
//!
//! It asks of a folder like `avro/` that every version parses, is named, documented and typed by the house's rules, is
//! FULL_TRANSITIVE-compatible with all versions before it, and is kept by golden bytes that still decode.

mod golden;
mod report;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use serde_json::Value as Json;

use crate::compatibility;
pub use crate::gate::report::{Fault, Report, Rule, SchemaReport};

/// The folder with the golden bytes and the list of what is published.
const GOLDEN: &str = "golden";

/// What may stand beside the folders of schemas.
const README: &str = "README.md";

/// One schema file that parses.
struct Version {
    /// `<folder>/<Event>.v<N>.avsc`, relative to the folder checked.
    file: PathBuf,
    folder: String,
    event: String,
    number: u32,
    text: String,
    json: Json,
    schema: Schema,
}

/// All versions of all events, oldest first within an event.
type Catalogue = BTreeMap<(String, String), Vec<Version>>;

/// Checks all schemas and golden files below `dir`.
pub fn check(dir: &Path) -> Report {
    let mut report = Report::default();
    let catalogue = match read(dir, &mut report) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            report.fault(Path::new(""), "", Rule::Readable, format!("{}: {error}", dir.display()));
            return report;
        }
    };
    for versions in catalogue.values() {
        for (index, version) in versions.iter().enumerate() {
            rules::check(version, index + 1 == versions.len(), &mut report);
            check_history(version, &versions[..index], &mut report);
        }
    }
    golden::check(dir, &catalogue, &mut report);
    if catalogue.is_empty() {
        report.fault(Path::new(""), "", Rule::Readable, format!("{} holds no schema", dir.display()));
    }
    report
}

/// Writes golden bytes, and the line in the list of published versions, for every version that has none yet but has
/// an example event beside it (`golden/<folder>/<Event>.v<N>.json`). Gives the files written.
///
/// # Errors
/// When a file can't be read or written, or an example does not fit its schema.
pub fn publish(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut report = Report::default();
    let catalogue = read(dir, &mut report)?;
    golden::publish(dir, &catalogue)
}

fn check_history(version: &Version, older: &[Version], report: &mut Report) {
    let expected = u32::try_from(older.len()).unwrap_or(u32::MAX).saturating_add(1);
    if version.number != expected {
        let detail = format!("version {} stands where version {expected} is missing", version.number);
        report.fault(&version.file, "", Rule::Named, detail);
    }
    for other in older {
        for problem in compatibility::problems(&other.schema, &version.schema) {
            let detail = format!("{} (against version {})", problem.detail, other.number);
            report.fault(&version.file, &problem.field, Rule::Compatible, detail);
        }
    }
}

/// Reads what parses; what doesn't is a fault in the report.
fn read(dir: &Path, report: &mut Report) -> io::Result<Catalogue> {
    let mut catalogue = Catalogue::new();
    for (folder, path) in entries(dir)? {
        if folder == GOLDEN || folder == README {
            continue;
        }
        if !path.is_dir() {
            report.fault(Path::new(&folder), "", Rule::Named, "only folders of schemas belong here");
            continue;
        }
        for (name, path) in entries(&path)? {
            let file = Path::new(&folder).join(&name);
            report.schema(&file);
            match parse(file.clone(), &folder, &name, &path) {
                Ok(version) => {
                    let key = (folder.clone(), version.event.clone());
                    catalogue.entry(key).or_default().push(version);
                }
                Err((rule, detail)) => report.fault(&file, "", rule, detail),
            }
        }
    }
    for versions in catalogue.values_mut() {
        versions.sort_by_key(|version| version.number);
    }
    Ok(catalogue)
}

fn parse(file: PathBuf, folder: &str, name: &str, path: &Path) -> Result<Version, (Rule, String)> {
    let (event, number) = name
        .strip_suffix(".avsc")
        .and_then(|stem| stem.split_once(".v"))
        .and_then(|(event, number)| Some((event.to_owned(), number.parse().ok()?)))
        .ok_or((Rule::Named, "a schema's file is named <Event>.v<N>.avsc".to_owned()))?;
    let text = fs::read_to_string(path).map_err(|error| (Rule::Readable, error.to_string()))?;
    let json: Json = serde_json::from_str(&text).map_err(|error| (Rule::Parses, error.to_string()))?;
    let schema = Schema::parse(&json).map_err(|error| (Rule::Parses, error.to_string()))?;
    Ok(Version { file, folder: folder.to_owned(), event, number, text, json, schema })
}

fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}
