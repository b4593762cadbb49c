//! The whole system as one value: what it runs on, the services, and their end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use embedded::broker::EmbeddedBroker;
use embedded::otlp::OtlpReceiver;
use embedded::ports::ReservedPort;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::configuration::{Configuration, Database, Http, Payment, Registry, Settings, Topics};
use super::databases;
use super::extra::{self, ExtraService};
use super::foundation::{Addresses, Foundation};
use super::options::Options;
use super::ports;
use super::process::{Say, Spec, Watch, supervise, tail};
use crate::client::Client;
use crate::services::ServiceName;
use crate::state::{self, RunningSystem};

/// How long the services may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// A service that dies so often before it is ready won't get there.
const DEATHS_BEFORE_READY: u32 = 3;

/// A running system. `stop` ends it; a dropped or killed one takes its processes along too.
pub struct Stack {
    system: RunningSystem,
    /// By the services' names, in the order in which they are started.
    watches: Vec<(String, Arc<Watch>)>,
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
        let extras = extra::all(&options.with)?;
        let members = members(options, &extras)?;
        let files =
            tempfile::Builder::new().prefix("tidings-").tempdir().context("a directory for the run")?;
        let logs = options.logs.clone().unwrap_or_else(|| files.path().join("logs"));
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let prefix = options.topics_prefix.clone().unwrap_or_else(|| "tidings".to_owned());

        let database_names: Vec<String> = members.iter().map(|member| member.database.clone()).collect();
        let (foundation, addresses) = Foundation::lay(options, &prefix, &database_names, &say).await?;
        let system = RunningSystem {
            pid: std::process::id(),
            start_ticks: state::start_ticks(std::process::id()),
            services: members
                .iter()
                .map(|member| (member.name.clone(), format!("http://{}", member.port.address())))
                .collect(),
            postgres: addresses.postgres.clone(),
            kafka: addresses.kafka.bootstrap_servers.clone(),
            registry: addresses.registry.clone(),
            topics_prefix: prefix,
            logs,
            traces: addresses.traces.clone(),
        };
        let specs = members
            .into_iter()
            .map(|member| member.configure(files.path(), &addresses, &system))
            .collect::<anyhow::Result<Vec<Spec>>>()?;
        let mut stack = Self {
            system,
            watches: Vec::with_capacity(specs.len()),
            supervisors: Mutex::new(JoinSet::new()),
            shutdown: CancellationToken::new(),
            foundation,
            _files: files,
        };
        for spec in specs {
            let watch = Arc::new(Watch::default());
            stack.watches.push((spec.name.clone(), Arc::clone(&watch)));
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
    pub const fn system(&self) -> &RunningSystem {
        &self.system
    }

    /// The embedded broker, unless another one is used.
    pub const fn broker(&self) -> Option<&EmbeddedBroker> {
        self.foundation.broker.as_ref()
    }

    /// The embedded receiver of traces, unless spans go elsewhere.
    pub const fn traces(&self) -> Option<&OtlpReceiver> {
        self.foundation.traces.as_ref()
    }

    /// The process of one service.
    ///
    /// # Panics
    /// Never: every service is watched from the start.
    #[expect(clippy::expect_used, reason = "start() watches every service")]
    pub fn watch(&self, service: ServiceName) -> &Watch {
        self.watch_named(service.as_str()).expect("every service is watched")
    }

    /// The process of the service of this name, if there is one: one of the five, or a program beside them.
    pub fn watch_named(&self, name: &str) -> Option<&Watch> {
        self.watches.iter().find(|(watched, _)| watched == name).map(|(_, watch)| &**watch)
    }

    /// A client of one service.
    ///
    /// # Errors
    /// When the HTTP client can't be built.
    pub fn client(&self, service: ServiceName) -> anyhow::Result<Client> {
        Client::try_new(self.system.service(service.as_str()).unwrap_or_default())
    }

    /// Waits until every service is ready, at most `timeout`.
    ///
    /// # Errors
    /// When one does not in time, or keeps dying; the message shows the end of its log.
    pub async fn wait_until_ready(&self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        let deaths: Vec<u32> = self.watches.iter().map(|(_, watch)| watch.deaths()).collect();
        let keeps_dying = || {
            let mut watches = self.watches.iter().zip(&deaths);
            watches.find(|((_, watch), deaths)| watch.deaths() - **deaths >= DEATHS_BEFORE_READY)
        };
        for (name, watch) in &self.watches {
            let client = Client::try_new(self.system.service(name).unwrap_or_default())?;
            while !(watch.pid().is_some() && client.is_ready().await) {
                if let Some(((dying, _), _)) = keeps_dying() {
                    return Err(self.not_ready(dying, "keeps dying"));
                }
                if Instant::now() >= deadline {
                    return Err(self.not_ready(name, "is not ready"));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn not_ready(&self, name: &str, what: &str) -> anyhow::Error {
        let url = self.system.service(name).unwrap_or_default();
        let log = self.system.logs.join(format!("{name}.log"));
        anyhow::anyhow!(
            "{name} {what} (GET {url}/health/ready); the end of {}:\n{}",
            log.display(),
            tail(&log)
        )
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

/// A service before it is started: one of the five, or a program beside them.
struct Member {
    name: String,
    /// Whether it is one of the five.
    service: Option<ServiceName>,
    database: String,
    binary: PathBuf,
    port: ReservedPort,
}

/// The five services, then the programs beside them.
fn members(options: &Options, extras: &[ExtraService]) -> anyhow::Result<Vec<Member>> {
    let ports = ports::choose(options.ports)?;
    let binaries = find_binaries(options.binaries.as_deref())?;
    let five = ports.into_iter().zip(binaries.into_values()).map(|((service, port), binary)| Member {
        name: service.to_string(),
        service: Some(service),
        database: service.database(),
        binary,
        port,
    });
    let mut members: Vec<Member> = five.collect();
    for (extra, port) in extras.iter().zip(ports::beside(options.ports, extras.len())?) {
        members.push(Member {
            name: extra.name.clone(),
            service: None,
            database: extra.database(),
            binary: extra.program.clone(),
            port,
        });
    }
    Ok(members)
}

impl Member {
    /// How to run it: one of the five with a file below `dir`, any other program with variables of its environment.
    fn configure(self, dir: &Path, addresses: &Addresses, system: &RunningSystem) -> anyhow::Result<Spec> {
        let pools = addresses.pools;
        let provider = Payment { provider_max_connections: pools.provider };
        let configuration = Configuration {
            http: Http { listen: self.port.address().to_string() },
            database: Database {
                url: databases::database_url(&addresses.postgres, &self.database),
                max_connections: pools.service,
            },
            kafka: addresses.kafka.clone(),
            registry: Registry { url: addresses.registry.clone() },
            topics: Topics { prefix: system.topics_prefix.clone() },
            telemetry: addresses.telemetry.clone(),
            payment: (self.service == Some(ServiceName::Payment)).then_some(provider),
        };
        let settings = if self.service.is_some() {
            let path = dir.join(format!("{}.toml", self.name));
            configuration.write(&path)?;
            Settings::File(path)
        } else {
            Settings::Environment(configuration.variables()?)
        };
        let log = system.logs.join(format!("{}.log", self.name));
        Ok(Spec { name: self.name, port: self.port, binary: self.binary, settings, log })
    }
}

/// The services' binaries: in the given directory, else beside this program, or, for a test binary in `deps/`, one directory
/// up.
fn find_binaries(directory: Option<&Path>) -> anyhow::Result<BTreeMap<ServiceName, PathBuf>> {
    let own = std::env::current_exe().context("where is this program?")?;
    let dirs: Vec<&Path> =
        directory.map_or_else(|| own.ancestors().skip(1).take(2).collect(), |dir| vec![dir]);
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
        directory.map_or_else(|| format!("beside {}", own.display()), |dir| format!("in {}", dir.display()));
    bail!("{} not found {place}; build with: cargo build {}", missing.join(", "), packages.join(" "))
}
