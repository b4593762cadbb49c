//! The profile of the demo and the tests, which names each crate of the workspace: one that is forgotten is built as slowly as
//! a dependency.

use anyhow::Context;
use toml::{Table, Value};

use crate::Violation;
use crate::sources::Source;

/// Every crate of `manifests` to which `[profile.dev.package]` of the workspace's manifest gives no `opt-level` of 0.
///
/// # Errors
/// When a manifest can't be parsed or has no name.
pub fn violations(workspace: &str, manifests: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let workspace: Table = workspace.parse().context("parsing Cargo.toml")?;
    let named =
        ["profile", "dev", "package"].iter().try_fold(&workspace, |table, key| table.get(*key)?.as_table());
    let mut violations = Vec::new();
    for manifest in manifests {
        let table: Table = manifest.text.parse().with_context(|| format!("parsing {}", manifest.path))?;
        let name = table.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
        let name = name.with_context(|| format!("{} has no package.name", manifest.path))?;
        let opt_level = named.and_then(|named| named.get(name)?.get("opt-level")).and_then(Value::as_integer);
        if opt_level != Some(0) {
            violations.push(Violation::new(
                "Cargo.toml",
                0,
                format!("[profile.dev.package] gives {name} no opt-level of 0: copy its neighbour's line"),
            ));
        }
    }
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_a_line_is_found() {
        let manifest =
            Source { path: "shared/a/Cargo.toml".to_owned(), text: "[package]\nname = 'a'".to_owned() };
        for (workspace, expected) in [
            ("[profile.dev.package]\na = { opt-level = 0 }", 0),
            ("[profile.dev.package]\nb = { opt-level = 0 }", 1),
            ("[profile.dev.package]\na = { opt-level = 1 }", 1),
            ("[profile.dev.package]\na = { debug = false }", 1),
            ("[profile.dev]\nopt-level = 0", 1),
        ] {
            let found = violations(workspace, std::slice::from_ref(&manifest)).unwrap();
            assert_eq!(found.len(), expected, "{workspace}: {found:?}");
        }
    }
}
