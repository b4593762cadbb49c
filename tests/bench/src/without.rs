//! Binaries of the services without one of their mechanisms or parts, which `tests/bench/without/build` makes of patches.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What a mechanism is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Waiting events applied by inventory alone.
    Apply,
    /// Waiting rows published by order's relay.
    Relay,
    /// Orders accepted by order alone.
    Accept,
}

/// A mechanism, and what its absence is measured with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mechanism {
    /// The name of its patch.
    pub(crate) name: &'static str,
    /// What is measured with it and without it.
    pub(crate) kind: Kind,
    /// Whether the messages of a key follow each other in the outbox, instead of all others lying between them.
    pub(crate) in_bursts: bool,
}

/// The mechanisms of the price list. Tracing, the last of it, has a setting.
pub(crate) const MECHANISMS: [Mechanism; 7] = [
    Mechanism::new("inbox-insert", Kind::Apply),
    Mechanism::new("position-lock", Kind::Apply),
    Mechanism::new("finishing", Kind::Relay),
    Mechanism::new("contiguity", Kind::Relay),
    Mechanism::new("key-in-flight", Kind::Relay),
    Mechanism { in_bursts: true, ..Mechanism::new("key-in-flight", Kind::Relay) },
    Mechanism::new("idempotency-key", Kind::Accept),
];

/// The check that a topic has as many partitions as the code says: without it, they can be varied.
pub(crate) const PARTITION_COUNT: &str = "partition-count";

impl Mechanism {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, in_bursts: false }
    }
}

/// The folder of the patches that the row `experiments` measures.
pub(crate) const EXPERIMENTS: &str = "experiments";

/// The folder of the binaries without this mechanism or part.
///
/// # Errors
/// When they were not built.
pub(crate) fn binaries(name: &str) -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("target/without").join(name).join("image");
    folder.canonicalize().with_context(|| {
        format!("binaries without {name} are missing: tests/bench/without/build {name}, which takes minutes")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiments::EXPERIMENTS as LIST;

    fn patches(folder: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("without").join(folder);
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|extension| extension == "patch"))
            .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_experiment_with_a_patch_has_one_and_each_patch_is_measured() {
        let names = LIST.iter().filter(|experiment| experiment.has_patch).map(|experiment| experiment.name);
        assert_eq!(patches(EXPERIMENTS), names.map(str::to_owned).collect());
    }

    #[test]
    fn each_mechanism_has_a_patch_and_each_patch_is_measured() {
        let patches = patches("");
        let names = MECHANISMS.map(|mechanism| mechanism.name).into_iter().chain([PARTITION_COUNT]);
        assert_eq!(patches, names.map(str::to_owned).collect());
        assert!(binaries("nothing").is_err());
    }
}
