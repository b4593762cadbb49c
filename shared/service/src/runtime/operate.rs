//! Runs a service: start, work, and an end that loses nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use database::{Database, Operation, StuckSessions};
use outbox::Relay;
use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::OpenApi;

use super::panics::caught;
use super::parts::{ConsumerDeps, Service, Worker};
use super::supervise::supervise;
use super::{Definition, Deps, Progress, progress, sampling, start};
use crate::check_health::check_health;
use crate::config::{CommandLine, Common, Settings};
use crate::health::Health;
use crate::http::dead_letters::{self, DeadLetterRoutes, Operations};
use crate::http::{edge, server};

/// How often histograms are folded together.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is looked for stuck sessions.
const STUCK_EVERY: Duration = Duration::from_secs(5);

/// How long the relay may take to close its session, after its own grace period.
const RELAY_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the last spans may take to leave, and how long it is waited for the exporter to keep to that.
const TELEMETRY_TIMEOUT: Duration = Duration::from_secs(3);
const TELEMETRY_BOUND: Duration = Duration::from_secs(6);

/// How long the runtime waits for threads that block, when everything else has ended.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(2);

/// Exit code when a second signal asks for an end at once.
const AT_ONCE: i32 = 130;

/// The longest that a service takes to stop: the sum of its bounds, which follow one another. Whoever ends it by force waits for
/// longer.
pub fn longest_stop(config: &Common) -> Duration {
    config.lifecycle.grace() + relay_grace(config) + RELAY_CLOSE_TIMEOUT + TELEMETRY_BOUND + RUNTIME_TIMEOUT
}

const fn relay_grace(config: &Common) -> Duration {
    Duration::from_millis(config.outbox.shutdown_grace_ms)
}

/// Parses the command line, reads the configuration, connects, migrates, wires and runs until SIGTERM or Ctrl-C; a
/// second signal ends it at once. `C` is the service's own section (`[payment]`), with defaults for every key and
/// `deny_unknown_fields`.
///
/// # Errors
/// When the configuration is wrong, something that the service needs at start-up stays out of reach, or a part of it
/// fails for good.
pub fn run<C: DeserializeOwned + Serialize + Default>(
    definition: Definition,
    wire: impl FnOnce(&C, &Deps) -> anyhow::Result<Service>,
) -> anyhow::Result<()> {
    let command_line = CommandLine::of_process(definition.name)?;
    run_with(definition, &command_line, wire)
}

/// As [`run`], with the command line as an argument.
///
/// # Errors
/// As [`run`].
pub fn run_with<C: DeserializeOwned + Serialize + Default>(
    mut definition: Definition,
    command_line: &CommandLine,
    wire: impl FnOnce(&C, &Deps) -> anyhow::Result<Service>,
) -> anyhow::Result<()> {
    // A release that was rolled back runs on the newer schema.
    definition.migrator.set_ignore_missing(true);
    let settings = Settings::<C>::load(&definition, command_line)?;
    if command_line.print_config {
        print!("{}", settings.print(definition.name)?);
        return Ok(());
    }
    block_on(&definition, &settings.common, command_line, Box::new(|deps| wire(&settings.own, deps)))
}

/// A service's parts from what wiring may use.
type Wire<'a> = Box<dyn FnOnce(&Deps) -> anyhow::Result<Service> + 'a>;

/// Not generic: what is awaited in here is compiled once, in this crate, and not again in every service.
fn block_on(
    definition: &Definition,
    config: &Common,
    command_line: &CommandLine,
    wire: Wire<'_>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = if command_line.check_health {
        runtime.block_on(check_health(&config.http))
    } else {
        runtime.block_on(Box::pin(operate(definition, config, command_line.migrate, wire)))
    };
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    outcome
}

async fn operate(
    definition: &Definition,
    config: &Common,
    only_migrate: bool,
    wire: Wire<'_>,
) -> anyhow::Result<()> {
    let telemetry = telemetry::init(definition.name, &config.telemetry)?;
    describe(definition);
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(signals(stop.clone())?);
    background.spawn(maintain(telemetry.metrics(), telemetry.log_limiter()));
    let starting = async {
        if only_migrate {
            return start::migrate(definition, config).await.map(|()| None);
        }
        let deps = Deps { shutdown: stop.clone(), ..start::dependencies(definition, config).await? };
        let service = wire(&deps)?;
        Running::start(config, &deps, service, &telemetry).await.map(Some)
    };
    let outcome = tokio::select! {
        () = stop.cancelled() => {
            if only_migrate { Err(anyhow::anyhow!("stopped before all migrations were applied")) } else { Ok(()) }
        }
        started = Box::pin(starting) => match started {
            Ok(Some(running)) => Box::pin(running.until_stopped()).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        },
    };
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "{} ends", definition.name);
    }
    finish_telemetry(telemetry).await;
    outcome
}

/// Every metric is described before the first scrape, also those of what has not happened yet.
fn describe(definition: &Definition) {
    for table in [messaging::METRICS, outbox::METRICS, inbox::METRICS, crate::METRICS, definition.metrics] {
        telemetry::metrics::describe(table);
    }
    for operation in Operation::ALL {
        metrics::counter!("database_timeouts_total", "operation" => operation.label()).increment(0);
    }
    metrics::counter!("database_stuck_sessions_ended_total").increment(0);
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("build_info", "service" => definition.name, "version" => version).set(1.0);
}

/// The first signal asks the service to stop; the second ends the process.
fn signals(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                tracing::info!("shutdown requested; a second signal exits immediately");
                stop.cancel();
            }
        }
        std::process::exit(AT_ONCE);
    })
}

async fn maintain(metrics: telemetry::metrics::Metrics, log_limiter: Arc<telemetry::LogLimiter>) {
    let mut ticks = tokio::time::interval(MAINTENANCE_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.maintain();
        log_limiter.summarise();
    }
}

/// Ends sessions that hold locks and whose clients can't finish their statements, whichever replica's they were.
async fn end_stuck_sessions(database: Database, shutdown: CancellationToken) {
    let ended = metrics::counter!("database_stuck_sessions_ended_total");
    let mut stuck = StuckSessions::new(database);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(STUCK_EVERY) => {}
        }
        match stuck.look().await {
            Ok(sessions) => ended.increment(sessions),
            Err(error) => tracing::debug!(%error, "cannot check for stuck sessions"),
        }
    }
}

/// The exporter blocks, so it gets a thread; the bound holds whatever the collector does.
async fn finish_telemetry(telemetry: Telemetry) {
    let flushing = tokio::task::spawn_blocking(move || telemetry.shutdown(TELEMETRY_TIMEOUT));
    let _ = tokio::time::timeout(TELEMETRY_BOUND, flushing).await;
}

/// The parts of a service at work.
struct Running {
    deps: Deps,
    grace: Duration,
    relay_grace: Duration,
    /// HTTP, consumers and workers: they stop at `deps.shutdown`.
    parts: JoinSet<Result<(), anyhow::Error>>,
    /// The relay stops last, because the others append to the outbox until they end.
    relay: JoinSet<Result<(), anyhow::Error>>,
    /// Handlers whose client has left, among others.
    requests: TaskTracker,
    relay_stop: CancellationToken,
}

impl Running {
    async fn start(
        config: &Common,
        deps: &Deps,
        service: Service,
        telemetry: &Telemetry,
    ) -> anyhow::Result<Self> {
        let health =
            Health::new(deps.name, deps.database.clone(), Arc::clone(&deps.bus), deps.shutdown.clone());
        let consumes = service.consumer.as_ref().map(|consumption| consumption.event_types.clone());
        start::preload(&deps.codec, &consumes.unwrap_or_default(), config).await?;
        let listener = TcpListener::bind(&config.http.listen).await.with_context(|| {
            format!("listening on {} (http.listen, TIDINGS_HTTP__LISTEN)", config.http.listen)
        })?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "http.allow_insecure: the API is open to every client that reaches this address; there is no authentication"
            );
        }
        let mut running = Self {
            deps: deps.clone(),
            grace: config.lifecycle.grace(),
            relay_grace: relay_grace(config),
            parts: JoinSet::new(),
            relay: JoinSet::new(),
            requests: TaskTracker::new(),
            relay_stop: CancellationToken::new(),
        };
        running.start_relay(config, &health)?;
        let mut operations = Operations { deps: deps.clone(), redrive: None };
        if let Some(consumption) = service.consumer {
            let consumer = (consumption.build)(running.consumer_deps(config));
            operations.redrive = Some(consumer.redrive);
            health.watch(consumer.status);
            let run = consumer.consumer.run(deps.shutdown.clone());
            running.parts.spawn(part("the consumer", async { Ok(run.await?) }));
        }
        let stalled_after = Duration::from_millis(config.consumer.stalled_after_ms);
        running.start_workers(service.workers, stalled_after, &health);
        let sampling = sampling::run(deps.database.clone(), service.samplers, deps.shutdown.clone());
        running.parts.spawn(part("sampling", async {
            sampling.await;
            Ok(())
        }));
        let ending = end_stuck_sessions(deps.database.clone(), deps.shutdown.clone());
        running.parts.spawn(part("ending stuck sessions", async {
            ending.await;
            Ok(())
        }));
        let routes = service.routes.merge(dead_letters::routes(operations));
        let openapi = service.openapi.merge_from(DeadLetterRoutes::openapi());
        let app = edge(routes, openapi, &config.http, health, telemetry.metrics(), running.requests.clone());
        running.start_http(listener, app, config);
        tracing::info!(
            "{} listens on http://{address}, its API is described at http://{address}/docs",
            deps.name
        );
        Ok(running)
    }

    fn consumer_deps(&self, config: &Common) -> ConsumerDeps {
        let outbox = self.deps.outbox.clone();
        ConsumerDeps {
            database: self.deps.database.clone(),
            bus: Arc::clone(&self.deps.bus),
            codec: Arc::clone(&self.deps.codec),
            group: format!("{}.{}", config.topics.prefix, self.deps.name),
            config: config.consumer.clone(),
            on_commit: Arc::new(move || outbox.wake()),
        }
    }

    fn start_relay(&mut self, config: &Common, health: &Health) -> anyhow::Result<()> {
        let Deps { database, outbox, bus, codec, .. } = &self.deps;
        let relay =
            Relay::try_new(database.clone(), outbox.outbox(), Arc::clone(bus), config.outbox.clone())?
                .with_topics(codec.published_topics().into_iter().collect());
        health.watch_relay(relay.status());
        let stop = self.relay_stop.clone();
        self.relay.spawn(part("the relay", async move { Ok(relay.run(stop).await?) }));
        Ok(())
    }

    fn start_workers(&mut self, workers: Vec<Box<dyn Worker>>, stalled_after: Duration, health: &Health) {
        let mut watched = Vec::with_capacity(workers.len());
        for worker in workers {
            let progress = Progress::new(worker.name());
            progress.begin();
            health.watch_worker(progress.clone());
            watched.push(progress.clone());
            let worker = supervise(worker, progress, self.deps.shutdown.clone());
            self.parts.spawn(part("a worker", async {
                worker.await;
                Ok(())
            }));
        }
        let watching = progress::watch(watched, stalled_after, self.deps.shutdown.clone());
        self.parts.spawn(part("the workers' watchdog", async {
            watching.await;
            Ok(())
        }));
    }

    fn start_http(&mut self, listener: TcpListener, app: axum::Router, config: &Common) {
        let (http, shutdown, grace) = (config.http.clone(), self.deps.shutdown.clone(), self.grace);
        self.parts.spawn(part("HTTP", async move {
            server::serve(listener, app, &http, shutdown, grace).await;
            Ok(())
        }));
    }

    /// Works until a signal comes or a part fails for good, then ends everything in order.
    async fn until_stopped(mut self) -> anyhow::Result<()> {
        let failure = tokio::select! {
            () = self.deps.shutdown.cancelled() => None,
            Some(ended) = self.parts.join_next() => Some(ended),
            Some(ended) = self.relay.join_next() => Some(ended),
        };
        let outcome = match failure {
            None => Ok(()),
            Some(Ok(Ok(()))) if self.deps.shutdown.is_cancelled() => Ok(()),
            Some(Ok(Ok(()))) => Err(anyhow::anyhow!("a component of the service exited unexpectedly")),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.into()),
        };
        self.deps.shutdown.cancel();
        self.finish().await;
        outcome
    }

    async fn finish(mut self) {
        let deadline = Instant::now() + self.grace;
        let finishing = async {
            while self.parts.join_next().await.is_some() {}
            self.requests.close();
            self.requests.wait().await;
        };
        if tokio::time::timeout_at(deadline, finishing).await.is_err() {
            tracing::warn!(
                grace_ms = self.grace.as_millis(),
                "grace period (lifecycle.grace_ms) exceeded; open transactions are rolled back"
            );
            self.parts.abort_all();
        }
        self.relay_stop.cancel();
        let bound = self.relay_grace + RELAY_CLOSE_TIMEOUT;
        let relayed = async { while self.relay.join_next().await.is_some() {} };
        if tokio::time::timeout(bound, relayed).await.is_err() {
            tracing::warn!(
                "relay did not stop in time; unpublished messages are published after the restart"
            );
        }
        self.deps.database.close();
        tracing::info!("{} has stopped", self.deps.name);
    }
}

/// A part whose panic is an error with its name.
async fn part(
    name: &'static str,
    work: impl Future<Output = anyhow::Result<()>> + Send,
) -> anyhow::Result<()> {
    let failed = || format!("{name} failed");
    caught(name, async { work.await.with_context(failed) }).await
}
