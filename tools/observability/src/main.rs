//! `cargo run -p observability` writes docs/metrics.md, docs/configuration.md and Grafana's dashboards; a test compares them.

use std::path::Path;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace's root")?;
    for (path, content) in observability::stale_files(root)? {
        let folder = path.parent().context("a file has a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
