//! Tables, sources, documentation, dashboards and alerts agree with each other.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it meets what it does not expect")]

mod alerts;
mod dashboards;
mod faults;
mod sources;
mod tables;

use std::path::{Path, PathBuf};

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

#[test]
fn documentation_and_dashboards_are_as_generated() {
    let stale: Vec<PathBuf> =
        observability::stale_files(&root()).unwrap().into_iter().map(|(path, _)| path).collect();
    assert!(stale.is_empty(), "run `make generate`; not as generated: {stale:?}");
}
