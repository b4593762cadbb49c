//! The whole system as one value: what it runs on, the five services, and their end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use embedded::otlp::OtlpReceiver;
use embedded::ports::ReservedPort;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::configuration::{Configuration, Database, Http, Payment, Registry, Topics};
use super::databases;
use super::foundation::{Addresses, Foundation};
use super::options::Options;
use super::ports;
use super::process::{Say, Spec, Watch, supervise, tail};
use crate::client::Client;
use crate::services::ServiceName;
use crate::state::RunningSystem;

/// How long the services may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// A service that dies so often before it is ready won't get there.
const DEATHS_BEFORE_READY: u32 = 3;

/// A running system. `stop` ends it; a dropped or killed one takes its processes along too.
pub struct Stack {
    system: RunningSystem,
    watches: BTreeMap<ServiceName, Arc<Watch>>,
    supervisors: Mutex<JoinSet<anyhow::Result<()>>>,
    shutdown: CancellationToken,
    // Declared in the order in which they go: services first (they are tasks above), then what they stand on.
    foundation: Foundation,
    _files: tempfile::TempDir,
}

impl Stack {
    /// Starts everything and waits until every service is ready.
    ///
    /// # Errors
    /// When a part can't be started, a port is taken, or a service does not get ready in time.
    pub async fn start(options: &Options, say: Say) -> anyhow::Result<Self> {
        let ports = ports::choose(options.ports)?;
        let binaries = find_binaries(options.binaries.as_deref())?;
        let files =
            tempfile::Builder::new().prefix("tidings-").tempdir().context("a directory for the run")?;
        let logs = options.logs.clone().unwrap_or_else(|| files.path().join("logs"));
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let prefix = options.topics_prefix.clone().unwrap_or_else(|| "tidings".to_owned());

        let (foundation, addresses) = Foundation::lay(options, &prefix, &say).await?;
        let system = RunningSystem {
            pid: std::process::id(),
            services: ports
                .iter()
                .map(|(service, port)| (service.to_string(), format!("http://{}", port.address())))
                .collect(),
            postgres: addresses.postgres.clone(),
            kafka: addresses.kafka.bootstrap_servers.clone(),
            registry: addresses.registry.clone(),
            topics_prefix: prefix,
            logs,
            traces: addresses.traces.clone(),
        };
        let specs = write_configurations(files.path(), ports, &binaries, &addresses, &system)?;
        let mut stack = Self {
            system,
            watches: BTreeMap::new(),
            supervisors: Mutex::new(JoinSet::new()),
            shutdown: CancellationToken::new(),
            foundation,
            _files: files,
        };
        for spec in specs {
            let watch = Arc::new(Watch::default());
            stack.watches.insert(spec.service, Arc::clone(&watch));
            let shutdown = stack.shutdown.clone();
            stack.supervisors.get_mut().spawn(supervise(spec, watch, shutdown, Arc::clone(&say)));
        }
        match stack.wait_until_ready(READY_TIMEOUT).await {
            Ok(()) => Ok(stack),
            Err(error) => {
                stack.stop().await?;
                Err(error)
            }
        }
    }

    /// Where everything is.
    #[must_use]
    pub const fn system(&self) -> &RunningSystem {
        &self.system
    }

    /// The embedded receiver of traces, unless spans go elsewhere.
    #[must_use]
    pub const fn traces(&self) -> Option<&OtlpReceiver> {
        self.foundation.traces.as_ref()
    }

    /// The process of one service.
    ///
    /// # Panics
    /// Never: every service is watched from the start.
    #[must_use]
    #[expect(clippy::expect_used, reason = "start() watches every service")]
    pub fn watch(&self, service: ServiceName) -> &Watch {
        self.watches.get(&service).expect("every service is watched")
    }

    /// A client of one service.
    ///
    /// # Errors
    /// When the HTTP client can't be built.
    pub fn client(&self, service: ServiceName) -> anyhow::Result<Client> {
        Client::try_new(self.system.service(service.as_str()).unwrap_or_default())
    }

    /// Waits until every service says that it is ready, at most `patience`.
    ///
    /// # Errors
    /// When one does not in time, or keeps dying; the message shows the end of its log.
    pub async fn wait_until_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        for service in ServiceName::ALL {
            let client = self.client(service)?;
            let watch = self.watch(service);
            let deaths = watch.deaths();
            while !(watch.pid().is_some() && client.is_ready().await) {
                let keeps_dying = watch.deaths() - deaths >= DEATHS_BEFORE_READY;
                if keeps_dying || Instant::now() >= deadline {
                    let log = self.system.logs.join(format!("{service}.log"));
                    let what = if keeps_dying { "keeps dying" } else { "is not ready" };
                    bail!("{service} {what}; the end of {}:\n{}", log.display(), tail(&log));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Waits until a service can't be run at all.
    ///
    /// # Errors
    /// Always, with what was wrong.
    pub async fn failed(&self) -> anyhow::Error {
        match self.supervisors.lock().await.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("the services have ended"),
            Some(Err(error)) => error.into(),
        }
    }

    /// Stops the services, then what they stand on.
    ///
    /// # Errors
    /// When the database server does not end in time.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_services().await?;
        self.foundation.stop().await
    }

    /// Stops the services, and leaves what they stand on.
    ///
    /// # Errors
    /// When a service could not be run.
    pub async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.supervisors.get_mut().join_next().await {
            ended??;
        }
        Ok(())
    }
}

fn write_configurations(
    dir: &Path,
    ports: BTreeMap<ServiceName, ReservedPort>,
    binaries: &BTreeMap<ServiceName, PathBuf>,
    addresses: &Addresses,
    system: &RunningSystem,
) -> anyhow::Result<Vec<Spec>> {
    let mut specs = Vec::with_capacity(ports.len());
    for ((service, port), binary) in ports.into_iter().zip(binaries.values()) {
        let config = dir.join(format!("{service}.toml"));
        let pools = addresses.pools;
        let provider = Payment { provider_max_connections: pools.provider };
        Configuration {
            http: Http { listen: port.address().to_string() },
            database: Database {
                url: databases::database_url(&addresses.postgres, &service.database()),
                max_connections: pools.service,
            },
            kafka: addresses.kafka.clone(),
            registry: Registry { url: addresses.registry.clone() },
            topics: Topics { prefix: system.topics_prefix.clone() },
            telemetry: addresses.telemetry.clone(),
            payment: (service == ServiceName::Payment).then_some(provider),
        }
        .write(&config)?;
        let log = system.logs.join(format!("{service}.log"));
        specs.push(Spec { service, port, binary: binary.clone(), config, log });
    }
    Ok(specs)
}

/// The services' binaries: where we are told, else beside this program, or, for a test binary in `deps/`, one directory
/// up.
fn find_binaries(told: Option<&Path>) -> anyhow::Result<BTreeMap<ServiceName, PathBuf>> {
    let own = std::env::current_exe().context("where is this program?")?;
    let dirs: Vec<&Path> = told.map_or_else(|| own.ancestors().skip(1).take(2).collect(), |dir| vec![dir]);
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for service in ServiceName::ALL {
        let binary = dirs.iter().map(|dir| dir.join(service.as_str())).find(|path| path.is_file());
        match binary {
            Some(path) => drop(found.insert(service, path)),
            None => missing.push(service.as_str()),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let packages: Vec<String> = missing.iter().map(|name| format!("-p {name}")).collect();
    let place =
        told.map_or_else(|| format!("beside {}", own.display()), |dir| format!("in {}", dir.display()));
    bail!("{} not found {place}; build with: cargo build {}", missing.join(", "), packages.join(" "))
}
