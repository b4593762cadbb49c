//! What a library of this repository may know: only other libraries, and nothing of the system (docs/adr/0031).

use anyhow::Context;
use toml::Table;

use crate::Violation;
use crate::sources::Source;

/// The system's name, which no library says.
const SYSTEM: &str = "tidings";

/// A crate that others can take, and the libraries that it may build on.
const LIBRARIES: [(&str, &[&str]); 8] = [
    ("shared/backoff", &[]),
    ("shared/cloudevents", &[]),
    ("shared/database", &[]),
    ("shared/inbox", &["backoff", "cloudevents", "database", "messaging", "metric-table"]),
    ("shared/messaging", &["metric-table", "redaction"]),
    ("shared/metric-table", &[]),
    ("shared/outbox", &["backoff", "cloudevents", "database", "messaging", "metric-table"]),
    ("shared/redaction", &[]),
];

/// Dependencies of libraries on something that is none, libraries that are not in the list, and texts that name the system.
/// Tests and examples may use whatever they need.
///
/// # Errors
/// When a manifest can't be parsed.
pub fn violations(manifests: &[Source], files: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let folders: Vec<&str> = manifests.iter().filter_map(|manifest| folder(&manifest.path)).collect();
    for manifest in manifests {
        let Some(folder) = folder(&manifest.path) else { continue };
        let table: Table = manifest.text.parse().with_context(|| format!("parsing {}", manifest.path))?;
        let package = table.get("package").and_then(toml::Value::as_table);
        let is_published = package.is_some_and(|package| !package.contains_key("publish"));
        let library = LIBRARIES.iter().find(|(name, _)| *name == folder);
        let mut violation = |rule: String| violations.push(Violation::new(&manifest.path, 0, rule));
        let Some((_, allowed)) = library else {
            if is_published {
                violation("is published, and not in the list of libraries".to_owned());
            }
            continue;
        };
        for key in ["name", "description", "version", "license", "readme", "keywords", "categories"] {
            if !package.is_some_and(|package| package.contains_key(key)) {
                violation(format!("a library has the key {key}"));
            }
        }
        for dependency in dependencies(&table) {
            let is_ours = folders.iter().any(|folder| folder.rsplit('/').next() == Some(dependency.as_str()));
            if is_ours && !allowed.contains(&dependency.as_str()) {
                violation(format!("{folder} must not depend on {dependency}"));
            }
        }
    }
    for file in files {
        let is_of_library = |(name, _): &&(&str, _)| file.path.starts_with(&format!("{name}/src/"));
        if LIBRARIES.iter().any(|library| is_of_library(&library)) {
            let lines = (1..).zip(file.text.lines());
            let naming = lines.filter(|(_, line)| line.to_lowercase().contains(SYSTEM));
            violations.extend(naming.map(|(line, _)| {
                Violation::new(&file.path, line, format!("a library does not know of {SYSTEM}"))
            }));
        }
    }
    Ok(violations)
}

/// What `lock` depends on in a version that `workspace` does not have: it would be compiled twice, and audited never.
///
/// # Errors
/// When a lock file can't be parsed.
pub fn other_versions(workspace: &str, lock: &str) -> anyhow::Result<Vec<String>> {
    let known = versions(workspace)?;
    Ok(versions(lock)?.into_iter().filter(|version| !known.contains(version)).collect())
}

/// Name and version of each package that comes from a registry.
fn versions(lock: &str) -> anyhow::Result<Vec<String>> {
    let table: Table = lock.parse().context("parsing a lock file")?;
    let packages =
        table.get("package").and_then(toml::Value::as_array).context("a lock file has packages")?;
    let of_registry = packages.iter().filter(|package| package.get("source").is_some());
    Ok(of_registry.map(|package| format!("{} {}", package["name"], package["version"])).collect())
}

fn folder(manifest: &str) -> Option<&str> {
    manifest.strip_suffix("/Cargo.toml").filter(|folder| folder.starts_with("shared/"))
}

/// What the crate itself is built from.
fn dependencies(manifest: &Table) -> Vec<String> {
    let of = |key| manifest.get(key).and_then(toml::Value::as_table);
    let kinds = [of("dependencies"), of("build-dependencies")];
    kinds.into_iter().flatten().flat_map(|table| table.keys().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: &str = "name = 'x'\ndescription = ''\nversion = '1.0.0'\nlicense = 'MIT'\nreadme = 'README.md'\n\
                            keywords = []\ncategories = []\n";

    fn source(path: &str, text: String) -> Source {
        Source { path: path.to_owned(), text }
    }

    #[test]
    fn what_a_library_must_not_know_is_found() {
        let outbox =
            |dependencies| source("shared/outbox/Cargo.toml", format!("[package]\n{COMPLETE}{dependencies}"));
        let contracts =
            source("shared/contracts/Cargo.toml", "[package]\npublish.workspace = true".to_owned());
        let inbox = source("shared/inbox/Cargo.toml", format!("[package]\n{COMPLETE}"));
        let code = |text: &str| source("shared/outbox/src/lib.rs", text.to_owned());
        for (dependencies, text, expected) in [
            ("[dependencies]\nmessaging.workspace = true\nsqlx.workspace = true", "fn send() {}", 0),
            ("[dependencies]\ncontracts.workspace = true", "", 1),
            ("[dependencies]\ninbox.workspace = true", "", 1),
            ("[build-dependencies]\ncontracts.workspace = true", "", 1),
            ("[dev-dependencies]\ncontracts.workspace = true", "", 0),
            ("", "\"Tidings.orders\"", 1),
        ] {
            let manifests = [outbox(dependencies), contracts.clone(), inbox.clone()];
            let found = violations(&manifests, &[code(text)]).unwrap();
            assert_eq!(found.len(), expected, "{dependencies} {text}: {found:?}");
        }
        let unlisted = source("shared/other/Cargo.toml", format!("[package]\n{COMPLETE}"));
        assert_eq!(violations(&[unlisted], &[]).unwrap().len(), 1);
    }

    #[test]
    fn another_version_of_a_dependency_is_found() {
        let lock = |version: &str| {
            format!(
                "[[package]]\nname = 'own'\nversion = '9'\n[[package]]\nname = 'one'\nversion = '{version}'\nsource = 'registry'"
            )
        };
        assert!(other_versions(&lock("1"), &lock("1")).unwrap().is_empty());
        assert_eq!(other_versions(&lock("1"), &lock("2")).unwrap().len(), 1);
    }
}
