//! Targets that are not built as tests, because they have none: a test in them would never run.

use anyhow::Context;
use toml::{Table, Value};

use crate::Violation;
use crate::sources::Source;

/// Every file with a test that its manifest keeps from running: `#[test]` below `test = false`, an example in a comment below
/// `doctest = false`.
///
/// # Errors
/// When a manifest can't be parsed.
pub fn violations(manifests: &[Source], sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for manifest in manifests {
        let table: Table = manifest.text.parse().with_context(|| format!("parsing {}", manifest.path))?;
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let library = table.get("lib");
        let binaries = table.get("bin").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if library.is_some_and(|library| is_off(library, "test")) {
            violations.push(Violation::new(
                &manifest.path,
                0,
                "a library is tested, or it is forgotten later",
            ));
        }
        for source in sources {
            let Some(path) = source.path.strip_prefix(folder) else { continue };
            let off = binaries.iter().any(|binary| is_at(binary, path) && is_off(binary, "test"));
            if off && has_test(&source.text) {
                violations.push(Violation::new(
                    &source.path,
                    0,
                    "no test here runs: its target has `test = false`",
                ));
            }
            let no_examples = library.is_some_and(|library| is_off(library, "doctest"));
            if no_examples && path.starts_with("src/") && has_example(&source.text) {
                violations.push(Violation::new(
                    &source.path,
                    0,
                    "no example runs: the library has `doctest = false`",
                ));
            }
        }
    }
    Ok(violations)
}

fn is_off(target: &Value, switch: &str) -> bool {
    target.get(switch).and_then(Value::as_bool) == Some(false)
}

fn is_at(target: &Value, path: &str) -> bool {
    target.get("path").and_then(Value::as_str) == Some(path)
}

fn has_test(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("#[test]") || line.starts_with("#[tokio::test") || line.starts_with("#[cfg(test)]")
    })
}

/// A fence in a comment that rustdoc reads.
fn has_example(text: &str) -> bool {
    text.lines().map(str::trim_start).any(|line| {
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).is_some_and(|text| text.trim() == "```")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: &str =
        "[package]\nname = 'a'\n[lib]\ndoctest = false\n[[bin]]\npath = 'src/main.rs'\ntest = false";

    #[test]
    fn a_test_that_no_target_runs_is_found() {
        let example = "/// For example:\n/// ```\n/// f();\n/// ```\nfn f() {}";
        for (manifest, path, text, expected) in [
            (SILENT, "tools/a/src/main.rs", "#[test]\nfn t() {}", 1),
            (SILENT, "tools/a/src/main.rs", "mod tests {\n    #[tokio::test]\n    async fn t() {} }", 1),
            (SILENT, "tools/a/src/main.rs", "fn main() {}", 0),
            (SILENT, "tools/a/src/lib.rs", "#[test]\nfn t() {}", 0),
            (SILENT, "tools/a/src/lib.rs", example, 1),
            (SILENT, "tools/b/src/lib.rs", example, 0),
            ("[package]\nname = 'a'", "tools/a/src/main.rs", "#[test]\nfn t() {}", 0),
            ("[package]\nname = 'a'", "tools/a/src/lib.rs", example, 0),
            ("[lib]\ntest = false", "tools/a/src/lib.rs", "", 1),
        ] {
            let manifest = Source { path: "tools/a/Cargo.toml".to_owned(), text: manifest.to_owned() };
            let source = Source { path: path.to_owned(), text: text.to_owned() };
            let found = violations(&[manifest], &[source]).unwrap();
            assert_eq!(found.len(), expected, "{path} {text}: {found:?}");
        }
    }
}
