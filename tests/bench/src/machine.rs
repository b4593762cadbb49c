//! The machine that a figure comes from.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::kafka::Kafka;

/// What a reader has to know of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) model: String,
    pub(crate) memory_gb: f64,
    pub(crate) kernel: String,
    pub(crate) postgres: String,
    pub(crate) kafka: String,
    /// The commit of the working tree when the run began; with `-dirty` if files differed from it.
    pub(crate) commit: String,
    /// The load average of the last minute before the run: above 1, something else ran.
    pub(crate) load_average: f64,
}

/// What a run found when it began. Its rows follow each other, and each leaves a load behind.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) commit: String,
    pub(crate) load_average: f64,
}

impl Beginning {
    /// Of the working tree at `root`.
    pub(crate) fn look(root: &Path) -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let last_minute = load.split(' ').next().and_then(|text| text.parse().ok());
        Self { commit: commit(root), load_average: last_minute.unwrap_or_default() }
    }
}

impl Machine {
    pub(crate) fn look(postgres: &str, kafka: &Kafka, beginning: &Beginning) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory_kb = value(&read("/proc/meminfo"), "MemTotal").replace(" kB", "").parse::<f64>();
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            model: value(&read("/proc/cpuinfo"), "model name"),
            memory_gb: (memory_kb.unwrap_or_default() / 1_048_576.0).round(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            postgres: postgres.to_owned(),
            kafka: kafka.version.clone(),
            commit: beginning.commit.clone(),
            load_average: beginning.load_average,
        }
    }
}

/// The commit of the working tree at `root`; with `-dirty` where files differ from it.
fn commit(root: &Path) -> String {
    let described = Command::new("git")
        .current_dir(root)
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .output();
    let text = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
