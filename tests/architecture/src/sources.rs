//! The Rust files and manifests of the workspace.

use std::path::{Path, PathBuf};

use anyhow::Context;
use proc_macro2::{TokenStream, TokenTree};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path from the repository's root, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Where the members of the workspace are.
const ROOTS: [&str; 4] = ["services", "shared", "tools", "tests"];

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust files of the workspace's members.
///
/// # Errors
/// When a file can't be read.
pub fn rust_files() -> anyhow::Result<Vec<Source>> {
    files("rs")
}

/// All manifests of the workspace's members.
///
/// # Errors
/// When a file can't be read.
pub fn manifests() -> anyhow::Result<Vec<Source>> {
    // A manifest with a workspace of its own is none of this one's members.
    let is_member =
        |source: &Source| source.path.ends_with("/Cargo.toml") && !source.text.contains("[workspace]\n");
    Ok(files("toml")?.into_iter().filter(is_member).collect())
}

fn files(extension: &str) -> anyhow::Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    for folder in ROOTS {
        collect(&root, &root.join(folder), extension, &mut found)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    anyhow::ensure!(found.len() > 10, "the source tree is not where it was expected: {}", root.display());
    Ok(found)
}

fn collect(root: &Path, folder: &Path, extension: &str, found: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, extension, found)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
    Ok(())
}

/// These tokens without `#[cfg(test)] mod name { ... }`.
pub(crate) fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |token: &TokenTree, name: &str| matches!(token, TokenTree::Ident(ident) if ident == name);
    while let Some(at) = tokens.windows(5).position(|five| match five {
        [TokenTree::Punct(hash), TokenTree::Group(attribute), module, _, TokenTree::Group(_)] => {
            let attribute = attribute.stream().to_string().replace(' ', "");
            hash.as_char() == '#' && attribute == "cfg(test)" && is(module, "mod")
        }
        _ => false,
    }) {
        tokens.drain(at..at + 5);
    }
    tokens
}
