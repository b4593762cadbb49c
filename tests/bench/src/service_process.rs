//! One service as a process of its own, beside nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use embedded::ports::ReservedPort;
use tidings::output;
use tidings::services::ServiceName;
use tidings::up::configuration::Settings;
use tidings::up::process::{Spec, Watch, supervise, tail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::deployment::{Deployment, variable};
use crate::load::Connection;
use crate::servers::Servers;

/// How long a service may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A running service. It ends with this value; `stop` lets it end in its own way.
pub(crate) struct ServiceProcess {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    /// From the start of the process to its first answer that says that it is ready.
    pub(crate) ready_after: Duration,
    service: ServiceName,
    log: PathBuf,
    watch: Arc<Watch>,
    shutdown: CancellationToken,
    supervisor: JoinSet<anyhow::Result<()>>,
}

impl ServiceProcess {
    /// Starts a service and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) async fn start(
        servers: &Servers,
        service: ServiceName,
        deployment: &Deployment,
    ) -> anyhow::Result<Self> {
        let mut started = Self::spawn(servers, service, deployment).await?;
        let began = Instant::now();
        while !started.is_ready().await {
            if began.elapsed() >= READY_TIMEOUT {
                bail!("{service} is not ready; the end of its log:\n{}", tail(&started.log));
            }
            sleep(LOOK_AGAIN).await;
        }
        started.ready_after = began.elapsed();
        Ok(started)
    }

    /// Starts it and does not wait until it is ready.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) async fn spawn(
        servers: &Servers,
        service: ServiceName,
        deployment: &Deployment,
    ) -> anyhow::Result<Self> {
        let port = ReservedPort::reserve(0)?;
        let address = port.address();
        let setting = |name: &str, value: &str| (variable(name), value.to_owned());
        let mut settings = vec![
            setting("http.listen", &address.to_string()),
            setting("database.url", &servers.database_of(service)),
            setting(deployment.brokers_setting(), &servers.kafka.addresses.bootstrap_servers),
            setting("registry.url", &servers.kafka.addresses.registry),
        ];
        settings.extend(deployment.variables());
        let log = servers.files().join(format!("{service}-{}.log", address.port()));
        let spec = Spec {
            name: service.to_string(),
            port,
            binary: deployment.binary(servers, service.as_str()),
            settings: Settings::Environment(settings),
            log: log.clone(),
        };
        let (watch, shutdown) = (Arc::new(Watch::default()), CancellationToken::new());
        let mut supervisor = JoinSet::new();
        let say = Arc::new(|line: String| output::diagnostic(&line));
        supervisor.spawn(supervise(spec, Arc::clone(&watch), shutdown.clone(), say));
        let began = Instant::now();
        let pid = loop {
            if let Some(pid) = watch.pid() {
                break pid;
            }
            if let Some(ended) = supervisor.try_join_next() {
                ended??;
            }
            anyhow::ensure!(began.elapsed() < READY_TIMEOUT, "{service} was not started");
            sleep(LOOK_AGAIN).await;
        };
        let ready_after = Duration::ZERO;
        Ok(Self { address, pid, ready_after, service, log, watch, shutdown, supervisor })
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.address).await else { return false };
        matches!(connection.get("/health/ready").await, Ok(Some(_)))
    }

    /// Refuses a measurement in which the service died: another process has taken its place.
    ///
    /// # Errors
    /// When it did.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let log = || tail(&self.log);
        anyhow::ensure!(self.watch.deaths() == 0, "{} died; the end of its log:\n{}", self.service, log());
        Ok(())
    }

    /// Lets the service end.
    ///
    /// # Errors
    /// When it could not be run.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.supervisor.join_next().await {
            ended.context("the supervisor of a service")??;
        }
        Ok(())
    }
}
