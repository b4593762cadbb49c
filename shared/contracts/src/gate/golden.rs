//! Golden bytes: one event of every version ever published, as it was written then, and what it says.
//!
//! `golden/<folder>/<Event>.v<N>.json` is an example event (times in microseconds), `.hex` its Avro binary, and
//! `golden/published.txt` a line per version with the digests of schema and bytes: all three never change again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::codec::body::{self, BodyError};
use crate::gate::report::{Report, Rule};
use crate::gate::{Catalogue, GOLDEN, Version, entries};
use crate::schemas::without_white_space;

const PUBLISHED: &str = "published.txt";
const BYTES_PER_LINE: usize = 40;

/// Checks the golden files of all versions, and that none is there without its schema.
pub(super) fn check(dir: &Path, catalogue: &Catalogue, report: &mut Report) {
    let mut published = read_published(dir).unwrap_or_default();
    for versions in catalogue.values() {
        for version in versions {
            if let Err((rule, detail)) = check_version(dir, version, versions.last(), &mut published) {
                report.fault(&version.file, "", rule, detail);
            }
        }
    }
    let list = Path::new(GOLDEN).join(PUBLISHED);
    for name in published.keys() {
        report.fault(&list, "", Rule::Published, format!("{name} was published, but its schema is gone"));
    }
    for file in strays(dir, catalogue) {
        report.fault(&file, "", Rule::Golden, "belongs to no version of a schema");
    }
}

type Verdict<T> = Result<T, (Rule, String)>;

fn check_version(
    dir: &Path,
    version: &Version,
    newest: Option<&Version>,
    published: &mut BTreeMap<String, String>,
) -> Verdict<()> {
    let golden = |detail: String| (Rule::Golden, detail);
    let listed = published.remove(&name(version));
    let expected = read_example(dir, version)?;
    let bytes = read_bytes(dir, version)?;
    let value = decode(version, &bytes)?;
    let found = Json::try_from(value.clone()).map_err(|error| golden(error.to_string()))?;
    if found != expected {
        return Err(golden(format!("the golden bytes say {found}, their example says {expected}")));
    }
    if encode(version, expected).as_ref() != Ok(&bytes) {
        return Err(golden("the example gives other bytes than the golden ones".to_owned()));
    }
    if let Some(newest) = newest {
        let lifted = value.resolve(&newest.schema).and_then(Json::try_from);
        let lifted =
            lifted.map_err(|error| golden(format!("version {} can't read it: {error}", newest.number)))?;
        for (field, said) in found.as_object().into_iter().flatten() {
            if lifted.get(field).is_some_and(|now| now != said) {
                let detail = format!("version {} reads {field} as something else", newest.number);
                return Err(golden(detail));
            }
        }
    }
    match listed {
        None => Err((Rule::Published, format!("{} is not in {GOLDEN}/{PUBLISHED}", name(version)))),
        Some(line) if line != digests(version, &bytes) => {
            let detail =
                "schema or golden bytes changed since they were published; make a new version instead";
            Err((Rule::Published, detail.to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// Writes what is missing; never touches what is there.
pub(super) fn publish(dir: &Path, catalogue: &Catalogue) -> io::Result<Vec<PathBuf>> {
    let mut published = read_published(dir).unwrap_or_default();
    let mut written = Vec::new();
    for version in catalogue.values().flatten() {
        let path = path(dir, version, "hex");
        if path.exists() || published.contains_key(&name(version)) {
            continue;
        }
        let refused =
            |(_, detail): (Rule, String)| io::Error::other(format!("{}: {detail}", version.file.display()));
        let bytes = read_example(dir, version).and_then(|json| encode(version, json)).map_err(refused)?;
        fs::write(&path, to_hex(&bytes))?;
        published.insert(name(version), digests(version, &bytes));
        written.push(path);
    }
    if !written.is_empty() {
        let list = dir.join(GOLDEN).join(PUBLISHED);
        let lines: String = published.iter().map(|(name, digests)| format!("{name} {digests}\n")).collect();
        fs::write(&list, lines)?;
        written.push(list);
    }
    Ok(written)
}

/// `order/OrderPlaced.v2`
fn name(version: &Version) -> String {
    format!("{}/{}.v{}", version.folder, version.event, version.number)
}

fn path(dir: &Path, version: &Version, extension: &str) -> PathBuf {
    dir.join(GOLDEN).join(format!("{}.{extension}", name(version)))
}

fn read_example(dir: &Path, version: &Version) -> Verdict<Json> {
    let path = path(dir, version, "json");
    let text = fs::read_to_string(&path).map_err(|error| {
        (Rule::Golden, format!("{GOLDEN}/{}.json, an example event: {error}", name(version)))
    })?;
    serde_json::from_str(&text).map_err(|error| (Rule::Golden, format!("{}: {error}", path.display())))
}

fn read_bytes(dir: &Path, version: &Version) -> Verdict<Vec<u8>> {
    let path = path(dir, version, "hex");
    let text = fs::read_to_string(&path).map_err(|error| {
        (Rule::Golden, format!("{GOLDEN}/{}.hex, the golden bytes: {error}", name(version)))
    })?;
    from_hex(&text)
        .ok_or_else(|| (Rule::Golden, format!("{GOLDEN}/{}.hex is not hexadecimal", name(version))))
}

fn decode(version: &Version, bytes: &[u8]) -> Verdict<Value> {
    let undecodable = |what: &str| (Rule::Golden, format!("the golden bytes don't decode any more: {what}"));
    let reader = body::reader(&version.schema).map_err(|error| undecodable(&error.to_string()))?;
    body::read(&reader, bytes).map_err(|error| match error {
        BodyError::Truncated => undecodable("they end early"),
        BodyError::Leftover(count) => undecodable(&format!("{count} bytes are left over")),
        BodyError::Malformed(error) => undecodable(&error.to_string()),
    })
}

fn encode(version: &Version, example: Json) -> Verdict<Vec<u8>> {
    let unfit = |error: apache_avro::Error| (Rule::Golden, format!("the example does not fit: {error}"));
    let value = Value::try_from(example).and_then(|value| value.resolve(&version.schema)).map_err(unfit)?;
    let writer = GenericDatumWriter::builder(&version.schema).build().map_err(unfit)?;
    writer.write_value_to_vec(value).map_err(unfit)
}

/// The digests of a version's schema (white space apart) and golden bytes.
fn digests(version: &Version, bytes: &[u8]) -> String {
    let schema = Sha256::digest(without_white_space(&version.text));
    format!("schema:{} golden:{}", hex(&schema), hex(&Sha256::digest(bytes)))
}

fn read_published(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(dir.join(GOLDEN).join(PUBLISHED))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, digests)| (name.to_owned(), digests.to_owned()))
        .collect())
}

/// Golden files that no schema has.
fn strays(dir: &Path, catalogue: &Catalogue) -> Vec<PathBuf> {
    let known: Vec<PathBuf> = catalogue
        .values()
        .flatten()
        .flat_map(|version| ["json", "hex"].map(|extension| path(dir, version, extension)))
        .collect();
    let folders = entries(&dir.join(GOLDEN)).unwrap_or_default();
    folders
        .into_iter()
        .filter(|(_, path)| path.is_dir())
        .flat_map(|(_, folder)| entries(&folder).unwrap_or_default())
        .filter(|(_, path)| !known.contains(path))
        .map(|(_, path)| path.strip_prefix(dir).map_or_else(|_| path.clone(), Path::to_owned))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(BYTES_PER_LINE).map(|line| hex(line) + "\n").collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16)?.try_into().ok())
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
