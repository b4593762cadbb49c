//! From the schemas in `avro/` to the Rust types in `shared/contracts/src/generated/`.
//!
//! A generator of our own, because the published one (rsgen-avro 0.19) stands on an older apache-avro, drops
//! namespaces and gives times and UUIDs as plain numbers and strings.

mod model;
mod render;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// A file that is not as the schemas want it.
#[derive(Debug)]
pub struct StaleFile {
    /// Where it stands.
    pub path: PathBuf,
    /// What it should hold; `None` when it should not exist.
    pub content: Option<String>,
}

/// The generated files under `root` (the workspace's folder) that differ from what its schemas give.
///
/// # Errors
/// When a schema can't be read or holds what the generator does not know.
pub fn stale_files(root: &Path) -> anyhow::Result<Vec<StaleFile>> {
    let source = root.join("shared/contracts/src");
    let wanted: BTreeMap<PathBuf, String> = generate(root)?
        .into_iter()
        .map(|(name, content)| Ok((source.join(name), rustfmt(root, &content)?)))
        .collect::<anyhow::Result<_>>()?;
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(source.join("generated")).into_iter().flatten() {
        let path = entry?.path();
        if !wanted.contains_key(&path) {
            stale.push(StaleFile { path, content: None });
        }
    }
    for (path, content) in wanted {
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&content) {
            stale.push(StaleFile { path, content: Some(content) });
        }
    }
    Ok(stale)
}

/// The unformatted files, by their path below `shared/contracts/src`.
fn generate(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let catalogue = model::Catalogue::read(&root.join("avro"))?;
    let mut files = BTreeMap::from([("generated.rs".to_owned(), render::root(&catalogue))]);
    for module in catalogue.modules.values() {
        files.insert(format!("generated/{}.rs", module.name), render::module(module)?);
    }
    Ok(files)
}

/// Formats by the workspace's own rules, so that `cargo fmt` leaves generated files alone.
fn rustfmt(root: &Path, code: &str) -> anyhow::Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt, a component of the toolchain")?;
    child.stdin.take().context("rustfmt's input")?.write_all(code.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt refuses the generated code:\n{code}");
    Ok(String::from_utf8(output.stdout)?)
}
