//! Flame graphs of the API, the relay and a consumer at full load.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use tidings::output;

use super::accept::{Placing, accept};
use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::Figure;
use crate::flame_graph::FlameGraph;
use crate::servers::Servers;
use crate::system::made;
use crate::{waiting_events, waiting_rows};

pub(super) const NAME: &str = "flames";
pub(super) const MEASURES: &str = "Where order spends its CPU time while it accepts orders of 3 lines on 16 connections and while its relay \
    publishes 200,000 waiting rows, and inventory while it applies 20,000 waiting events: the share of each kind of thread, and a \
    flame graph of each.";
pub(super) const BESIDE: &str =
    "nothing; perf samples the processes 199 times per second, which takes some of their speed.";

const CONNECTIONS: usize = 16;
const LINES: usize = 3;
const ROWS: u64 = 200_000;
const EVENTS: u64 = 20_000;
const SKUS: u64 = 500;

/// What is sampled.
#[derive(Clone, Copy, Debug)]
enum Load {
    Accept,
    Relay,
    Apply,
}

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let sampler = Sampler::find()?;
    let prefix = format!("bench-flames-{}", contracts::clock::new_id().simple());
    let mut measured = Measured::default();
    for load in [Load::Accept, Load::Relay, Load::Apply] {
        let (service, file, what) = load.names();
        let samples = servers.files().join(format!("{file}.perf"));
        let folder = sampler.wrap(servers.files(), service, &samples)?;
        load.drive(setting, servers, &format!("{prefix}-{file}"), folder).await?;
        let graph = FlameGraph::parse(&sampler.read(&samples)?);
        anyhow::ensure!(graph.samples() > 0, "perf has no sample of {service}");
        output::diagnostic(&format!("{file}: {} samples", graph.samples()));
        let picture = setting.out.join(format!("{file}.svg"));
        fs::write(&picture, graph.svg(what)).with_context(|| format!("writing {}", picture.display()))?;
        for (thread, share) in graph.threads().into_iter().filter(|(_, share)| *share >= 0.01) {
            measured.figures.push(Figure::new(format!("{what}: threads {thread}"), "%", share * 100.0));
        }
        measured.notes.push(format!("![{what}]({file}.svg)"));
    }
    Ok(measured)
}

impl Load {
    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Accept => ("order", "flame-accept", "order accepts orders"),
            Self::Relay => ("order", "flame-relay", "order publishes waiting rows"),
            Self::Apply => ("inventory", "flame-consumer", "inventory applies waiting events"),
        }
    }

    async fn drive(
        self,
        setting: &Setting,
        servers: &Servers,
        prefix: &str,
        folder: PathBuf,
    ) -> anyhow::Result<()> {
        let (plain, sampled) = (Deployment::new(prefix), Deployment::new(prefix).binaries(folder));
        match self {
            Self::Accept => {
                servers.create_databases([tidings::services::ServiceName::Order]).await?;
                let placing = Placing { connections: CONNECTIONS, rate: None, lines: LINES };
                accept(setting, servers, &sampled, placing).await?;
            }
            Self::Relay => {
                let mut conn = servers.connect("tidings_order").await?;
                waiting_rows::finish(&mut conn).await?;
                waiting_rows::insert(&mut conn, prefix, setting.scaled(ROWS)).await?;
                servers.checkpoint().await?;
                waiting_rows::publish(servers, &sampled, setting.scaled(ROWS)).await?;
            }
            Self::Apply => {
                let orders = made("flames", LINES, |number, line| {
                    format!("SKU-{}", (number * 31 + line as u64 * 97) % SKUS)
                });
                let skus = (0..SKUS).map(|sku| format!("SKU-{sku}"));
                let count = setting.scaled(EVENTS);
                waiting_events::prepare(servers, &plain, skus, &orders, count).await?;
                waiting_events::apply(servers, &sampled, 0, count).await?;
            }
        }
        Ok(())
    }
}

/// perf, and the services with their symbols.
struct Sampler {
    binaries: PathBuf,
}

impl Sampler {
    fn find() -> anyhow::Result<Self> {
        let perf = Command::new("perf").arg("--version").stdout(Stdio::null()).status();
        anyhow::ensure!(
            perf.is_ok_and(|status| status.success()),
            "perf is missing. Debian: 'sudo apt-get install linux-perf', Ubuntu: 'sudo apt-get install linux-tools-generic'."
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let binaries = root.join("target/flames/image").canonicalize();
        Ok(Self {
            binaries: binaries
                .context("the services with their symbols are missing: tests/bench/flames/build")?,
        })
    }

    /// A folder in which the service's name starts it under perf.
    fn wrap(&self, files: &Path, service: &str, samples: &Path) -> anyhow::Result<PathBuf> {
        let folder = files.join(format!("sampled-{service}"));
        fs::create_dir_all(&folder)?;
        let script = folder.join(service);
        let text = format!(
            "#!/bin/sh\nexec perf record --quiet --freq 199 --call-graph dwarf,16384 --output '{}' -- '{}' \"$@\"\n",
            samples.display(),
            self.binaries.join(service).display()
        );
        fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
        Ok(folder)
    }

    /// The stacks of all samples.
    #[expect(clippy::unused_self, reason = "it is known that perf is there")]
    fn read(&self, samples: &Path) -> anyhow::Result<String> {
        let output = Command::new("perf")
            .args(["script", "--no-inline", "--fields", "comm,ip,sym", "--input"])
            .arg(samples)
            .stderr(Stdio::null())
            .output()
            .context("perf script")?;
        anyhow::ensure!(output.status.success(), "perf can't read {}", samples.display());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
