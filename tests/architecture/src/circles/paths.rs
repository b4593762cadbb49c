//! The modules of one crate, and the file that defines what a path names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use proc_macro2::TokenStream;

use super::graph::Edge;
use super::scan::{Said, Written, joined, scan};
use crate::sources::Source;

/// `pub use` of a `pub use`: nobody goes further.
const MOST_STEPS: usize = 8;

struct File {
    path: String,
    said: Said,
}

/// The files of a crate by module, and the modules that stand inside files.
pub(super) struct Modules {
    files: BTreeMap<Vec<String>, File>,
    /// The file's module of each module that stands inside a file.
    inline: BTreeMap<Vec<String>, Vec<String>>,
}

impl Modules {
    /// Reads the files of the crate whose root stands in this folder.
    pub(super) fn read(root: &str, sources: &[&Source]) -> anyhow::Result<Self> {
        let mut modules = Self { files: BTreeMap::new(), inline: BTreeMap::new() };
        let has_library = sources.iter().any(|source| source.path == format!("{root}lib.rs"));
        for source in sources {
            let inside = source.path[root.len()..].trim_end_matches(".rs");
            // A program beside a library is a crate of its own, which the library can't import.
            if inside.starts_with("bin/") || has_library && inside == "main" {
                continue;
            }
            let module: Vec<String> = match inside {
                "lib" | "main" => Vec::new(),
                inside => inside.split('/').map(str::to_owned).collect(),
            };
            let tokens: TokenStream =
                source.text.parse().ok().with_context(|| format!("{} is no Rust", source.path))?;
            let mut said = Said::default();
            scan(tokens, &module, &mut said);
            for inline in &said.inline {
                modules.inline.insert(inline.clone(), module.clone());
            }
            modules.files.insert(module, File { path: source.path.clone(), said });
        }
        Ok(modules)
    }

    /// Which file imports which; one edge for each pair.
    pub(super) fn imports(&self) -> Vec<Edge> {
        let mut seen = BTreeSet::new();
        let mut edges = Vec::new();
        for (module, file) in &self.files {
            let uses = file.said.uses.iter().filter_map(|used| {
                let is_import = !used.is_public || file.said.names.contains(&used.name);
                is_import.then_some((&used.of, used.name == "*"))
            });
            for (written, is_glob) in uses.chain(file.said.mentions.iter().map(|written| (written, false))) {
                let Some(to) = self.defining(written, is_glob) else { continue };
                if module.starts_with(to) || !seen.insert((module, to)) {
                    continue;
                }
                edges.push(Edge {
                    from: file.path.clone(),
                    to: self.files[to].path.clone(),
                    line: written.line,
                    name: written.path.join("::"),
                });
            }
        }
        edges
    }

    /// The module of the file that defines what this path names; none for modules and foreign crates.
    fn defining(&self, written: &Written, is_glob: bool) -> Option<&Vec<String>> {
        self.item(&self.absolute(&written.module, &written.path)?, is_glob, 0)
    }

    /// From the crate's root; none for what is foreign.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut absolute = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name if self.is_module(&joined(module, name)) => joined(module, name),
            name => {
                let used = self.used(module, name).filter(|used| used.path != path)?;
                self.absolute(&used.module, &used.path)?
            }
        };
        for segment in rest {
            if segment == "super" {
                absolute.pop();
            } else {
                absolute.push(segment.clone());
            }
        }
        Some(absolute)
    }

    fn item(&self, absolute: &[String], is_glob: bool, steps: usize) -> Option<&Vec<String>> {
        let mut length = 0;
        while length < absolute.len() && self.is_module(&absolute[..=length]) {
            length += 1;
        }
        let (module, rest) = absolute.split_at(length);
        let Some((name, rest)) = rest.split_first() else {
            return if is_glob { self.file_of(module) } else { None };
        };
        match self.used(module, name) {
            Some(used) if steps < MOST_STEPS => {
                let mut next = self.absolute(&used.module, &used.path)?;
                next.extend_from_slice(rest);
                self.item(&next, is_glob, steps + 1)
            }
            _ => self.file_of(module),
        }
    }

    /// The `use` that brings this name into a module.
    fn used(&self, module: &[String], name: &str) -> Option<&Written> {
        let file = &self.files[self.file_of(module)?];
        let named = |used: &&super::scan::Use| used.name == name && used.of.module == module;
        file.said.uses.iter().find(named).map(|used| &used.of)
    }

    fn is_module(&self, module: &[String]) -> bool {
        self.file_of(module).is_some()
    }

    fn file_of(&self, module: &[String]) -> Option<&Vec<String>> {
        match self.files.get_key_value(module) {
            Some((module, _)) => Some(module),
            None => self.inline.get(module),
        }
    }
}
