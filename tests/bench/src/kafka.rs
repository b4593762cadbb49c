//! The Kafka of this run, as a process of this machine.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use tidings::up::options::RealKafka;

/// Apache Kafka and the registry that belongs to it, as `tests/components/with-kafka` starts them.
#[derive(Clone, Debug)]
pub(crate) struct Kafka {
    pub(crate) addresses: RealKafka,
    pub(crate) pid: u32,
    pub(crate) version: String,
}

impl Kafka {
    /// Finds the process behind the address: its CPU time is a part of the figures.
    pub(crate) fn find(addresses: RealKafka) -> anyhow::Result<Self> {
        let port = addresses.bootstrap_servers.rsplit_once(':').map_or("", |(_, port)| port);
        let run = format!("/run/kafka-{port}\0");
        let processes = fs::read_dir("/proc").context("reading /proc")?.filter_map(Result::ok);
        let found = processes.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = command_line(&entry.path())?;
            (command.contains(&run) && command.contains("\0kafka.Kafka\0")).then_some((pid, command))
        });
        let (pid, command) = found.max_by_key(|(pid, _)| *pid).with_context(|| {
            format!(
                "no Kafka of tests/components listens on {}: `make bench` starts one around the program",
                addresses.bootstrap_servers
            )
        })?;
        Ok(Self { addresses, pid, version: version(&command) })
    }
}

fn command_line(process: &Path) -> Option<String> {
    fs::read(process.join("cmdline")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The 4.3.1 of `-cp /…/kafka-4.3.1/*`.
fn version(command: &str) -> String {
    let class_path = command.split('\0').find(|argument| argument.ends_with("/*")).unwrap_or_default();
    let folder = class_path.trim_end_matches("/*").rsplit('/').next().unwrap_or_default();
    folder.strip_prefix("kafka-").unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_off_the_class_path() {
        assert_eq!(
            version("java\0-Xmx512m\0-cp\0/x/kafka-4.3.1/*\0kafka.Kafka\0server.properties\0"),
            "4.3.1"
        );
        assert_eq!(version("java\0kafka.Kafka\0"), "unknown");
    }
}
