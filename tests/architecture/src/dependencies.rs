//! Who may depend on whom: services never on services, shared crates on nothing above them, and what both run with on
//! nothing that belongs to tests.

use anyhow::Context;
use toml::Table;

use crate::Violation;
use crate::sources::Source;

/// A crate of the workspace.
#[derive(Clone, Debug)]
struct Member {
    manifest: String,
    /// `services`, `shared`, `tools` or `tests`.
    layer: String,
    name: String,
    /// What it is called in code, where that is another name.
    library: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    is_for_tests: bool,
}

/// Every dependency between members that the layers forbid.
///
/// # Errors
/// When a manifest can't be parsed.
pub fn violations(manifests: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let members = manifests.iter().map(member).collect::<anyhow::Result<Vec<_>>>()?;
    let mut violations = Vec::new();
    for member in &members {
        for dependency in &member.dependencies {
            let Some(target) = members.iter().find(|other| other.is_called(&dependency.name)) else {
                continue;
            };
            if !allowed(&member.layer, &target.layer, dependency.is_for_tests) {
                violations.push(Violation::new(
                    &member.manifest,
                    0,
                    format!(
                        "{} ({}) must not depend on {} ({})",
                        member.name, member.layer, target.name, target.layer
                    ),
                ));
            }
        }
    }
    Ok(violations)
}

impl Member {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.library.as_deref() == Some(name)
    }
}

fn allowed(from: &str, to: &str, is_for_tests: bool) -> bool {
    match from {
        "services" | "shared" => to == "shared" || (is_for_tests && to != "services"),
        // The command and the tests stand outside: they see everything.
        _ => true,
    }
}

fn member(manifest: &Source) -> anyhow::Result<Member> {
    let table: Table = manifest.text.parse().with_context(|| format!("parsing {}", manifest.path))?;
    let name = table
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .with_context(|| format!("{} has no package name", manifest.path))?;
    let library = table.get("lib").and_then(|library| library.get("name")).and_then(toml::Value::as_str);
    let layer = manifest.path.split('/').next().unwrap_or_default();
    let mut dependencies = Vec::new();
    gather(&table, &mut dependencies);
    Ok(Member {
        manifest: manifest.path.clone(),
        layer: layer.to_owned(),
        name: name.to_owned(),
        library: library.map(str::to_owned),
        dependencies,
    })
}

/// Dependencies of every kind, also those of single targets.
fn gather(table: &Table, found: &mut Vec<Dependency>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            for (name, requirement) in inner {
                let renamed = requirement.get("package").and_then(toml::Value::as_str);
                let name = renamed.unwrap_or(name).to_owned();
                found.push(Dependency { name, is_for_tests: key == "dev-dependencies" });
            }
        } else if key == "target" || key.starts_with("cfg(") {
            gather(inner, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str, dependencies: &str) -> Source {
        let name = path.split('/').nth(1).unwrap();
        Source { path: path.to_owned(), text: format!("[package]\nname = '{name}'\n{dependencies}") }
    }

    #[test]
    fn forbidden_dependencies_are_found_however_they_are_written() {
        let order = manifest("services/order/Cargo.toml", "");
        let inbox = manifest("shared/inbox/Cargo.toml", "");
        let testkit = manifest("tests/testkit/Cargo.toml", "");
        for (path, dependencies, expected) in [
            ("services/payment/Cargo.toml", "[dependencies]\norder.workspace = true", 1),
            ("services/payment/Cargo.toml", "[dev-dependencies]\norder = { path = '../order' }", 1),
            ("services/payment/Cargo.toml", "[dependencies]\nother = { package = 'order' }", 1),
            ("services/payment/Cargo.toml", "[target.'cfg(unix)'.dependencies]\norder.workspace = true", 1),
            ("services/payment/Cargo.toml", "[dependencies]\ninbox.workspace = true", 0),
            ("shared/outbox/Cargo.toml", "[build-dependencies]\norder.workspace = true", 1),
            ("shared/outbox/Cargo.toml", "[dev-dependencies]\norder.workspace = true", 1),
            ("services/payment/Cargo.toml", "[dependencies]\ntestkit.workspace = true", 1),
            ("services/payment/Cargo.toml", "[dev-dependencies]\ntestkit.workspace = true", 0),
            ("tests/system/Cargo.toml", "[dev-dependencies]\norder.workspace = true", 0),
        ] {
            let others = [order.clone(), inbox.clone(), testkit.clone()];
            let found = violations(&[&others[..], &[manifest(path, dependencies)]].concat()).unwrap();
            assert_eq!(found.len(), expected, "{path} {dependencies}: {found:?}");
        }
    }
}
