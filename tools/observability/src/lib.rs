//! What operators see and set, generated from the crates: their tables of metrics, their structures of settings.

pub mod catalogue;
mod configuration;
pub mod dashboards;
mod document;
pub mod promql;
pub mod settings;
mod wrap;

use std::path::{Path, PathBuf};

/// The generated files under `root` (the workspace's folder) that differ from what the crates give, and what they should
/// hold.
///
/// # Errors
/// When a setting has no description, or a dashboard can't be written as JSON.
pub fn stale_files(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut wanted = vec![
        (root.join("docs/metrics.md"), document::render()),
        (root.join("docs/configuration.md"), configuration::render(root)?),
    ];
    for dashboard in dashboards::all() {
        let path = root.join("observability/grafana/dashboards").join(format!("{}.json", dashboard.uid));
        wanted.push((path, serde_json::to_string_pretty(&dashboard.to_json())? + "\n"));
    }
    let is_stale =
        |(path, content): &(PathBuf, String)| std::fs::read_to_string(path).ok().as_ref() != Some(content);
    Ok(wanted.into_iter().filter(is_stale).collect())
}
