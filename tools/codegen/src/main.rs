//! `cargo run -p codegen` writes `shared/contracts/src/generated/` anew from `avro/`; `--check` only compares.

use std::path::Path;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace's root")?;
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument {other}; the only one is --check"),
    };
    let stale = codegen::stale_files(root)?;
    if check {
        let names: Vec<_> = stale.iter().map(|file| file.path.display().to_string()).collect();
        anyhow::ensure!(names.is_empty(), "run `make generate`; not as generated: {}", names.join(", "));
        return Ok(());
    }
    for file in stale {
        match &file.content {
            Some(content) => std::fs::write(&file.path, content)
                .with_context(|| format!("writing {}", file.path.display()))?,
            None => std::fs::remove_file(&file.path)
                .with_context(|| format!("removing {}", file.path.display()))?,
        }
        println!("{}", file.path.display());
    }
    Ok(())
}
