//! No files of a crate import each other, directly or through others: each can be read after what it builds on.
//!
//! A file imports another where a path, in a `use` or anywhere else, names an item that the other defines; an item that is
//! re-exported on the way belongs to the file that defines it. What a child uses of its own parent is no import, as both are
//! one module to all others; nor is a `pub use` whose name its file does not mention, nor what stands in tests.

mod graph;
mod paths;
pub(crate) mod scan;

use std::collections::BTreeMap;

use crate::Violation;
use crate::circles::graph::Edge;
use crate::circles::paths::Modules;
use crate::sources::Source;

/// Every circle of imports, one for each group of files that import each other.
///
/// # Errors
/// When a file is no Rust.
pub fn violations(sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for (root, files) in crates(sources) {
        let modules = Modules::read(root, &files)?;
        for circle in graph::circles(&modules.imports()) {
            violations.push(violation(&circle));
        }
    }
    Ok(violations)
}

/// The files of each crate, by the folder of its root.
fn crates(sources: &[Source]) -> BTreeMap<&str, Vec<&Source>> {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        if let Some(root) = root(&source.path) {
            crates.entry(root).or_default().push(source);
        }
    }
    crates
}

/// `shared/inbox/src/` of `shared/inbox/src/redrive/letters.rs`; none for tests and examples.
fn root(path: &str) -> Option<&str> {
    path.find("/src/").map(|at| &path[..at + "/src/".len()])
}

fn violation(circle: &[Edge]) -> Violation {
    let edges_text: Vec<String> = circle
        .iter()
        .map(|edge| format!("{}:{} imports {} of {}", edge.from, edge.line, edge.name, edge.to))
        .collect();
    let first = circle.first();
    Violation::new(
        first.map_or("", |edge| edge.from.as_str()),
        first.map_or(0, |edge| edge.line),
        format!("files import each other: {}", edges_text.join(", ")),
    )
}

#[cfg(test)]
mod tests;
