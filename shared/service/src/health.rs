//! Whether a service lives, whether it can answer requests, and how its parts are: asked of the database and the broker, not assumed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use database::{Database, Operation};
use inbox::{ConsumerStatus, OutOfGroup, PartitionState};
use messaging::Bus;
use outbox::{RelayState, RelayStatus};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::http::Json;
use crate::runtime::{Progress, Shown};

/// How long a question to the database or the broker may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a result is cached, so that probes cost nothing.
const FRESH: Duration = Duration::from_secs(1);

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Works.
    Up,
    /// Is being tried again; nothing is lost meanwhile.
    Retrying,
    /// Does not work.
    Down,
}

/// One component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Component {
    /// How it is.
    pub state: State,
    /// What it does, or what is wrong, if there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Component {
    const UP: Self = Self { state: State::Up, detail: None };

    fn of(state: State, detail: impl Into<String>) -> Self {
        Self { state, detail: Some(detail.into()) }
    }
}

/// The answer to `/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Report {
    /// The service's name.
    pub service: &'static str,
    /// Whether it can answer requests: its database answers, and it is not stopping. While the broker is down, what is
    /// accepted waits in the outbox.
    pub ready: bool,
    /// `database`, `broker`, `consumer group`, `consumer <topic>/<partition>`, `worker <name>`, `relay`.
    pub components: BTreeMap<String, Component>,
}

/// What health knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: &'static str,
    database: Database,
    bus: Arc<dyn Bus>,
    shutdown: CancellationToken,
    /// All of them tell their state when asked.
    consumers: Mutex<Vec<ConsumerStatus>>,
    relay: Mutex<Option<RelayStatus>>,
    workers: Mutex<Vec<Progress>>,
    /// The last answers of database and broker; the lock makes concurrent probes share one question.
    asked: tokio::sync::Mutex<Option<(Instant, Component, Component)>>,
}

impl Health {
    /// The health of `service`, which uses this database and this bus.
    pub fn new(
        service: &'static str,
        database: Database,
        bus: Arc<dyn Bus>,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            service,
            database,
            bus,
            shutdown,
            consumers: Mutex::default(),
            relay: Mutex::default(),
            workers: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        }))
    }

    pub(crate) fn watch(&self, consumer: ConsumerStatus) {
        self.0.consumers.lock().unwrap_or_else(PoisonError::into_inner).push(consumer);
    }

    pub(crate) fn watch_relay(&self, relay: RelayStatus) {
        *self.0.relay.lock().unwrap_or_else(PoisonError::into_inner) = Some(relay);
    }

    pub(crate) fn watch_worker(&self, worker: Progress) {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// Asks database and broker (at most once a second), and adds what the others tell.
    pub async fn report(&self) -> Report {
        let (database, broker) = self.ask().await;
        let stopping = self.0.shutdown.is_cancelled();
        let ready = !stopping && database.state == State::Up;
        let mut components = BTreeMap::new();
        components.insert("database".to_owned(), database);
        components.insert("broker".to_owned(), broker);
        if stopping {
            components.insert("service".to_owned(), Component::of(State::Down, "it was asked to stop"));
        }
        if let Some(relay) = self.0.relay.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            components.insert("relay".to_owned(), relay_component(relay.state(), relay.stalled()));
        }
        for consumer in self.0.consumers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            components.insert("consumer group".to_owned(), group_component(consumer.out_of_group()));
            for (partition, state) in consumer.partitions() {
                let name = format!("consumer {partition}");
                components.insert(name, partition_component(state));
            }
        }
        for worker in self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            components.insert(format!("worker {}", worker.worker()), worker_component(worker.shown()));
        }
        Report { service: self.0.service, ready, components }
    }

    async fn ask(&self) -> (Component, Component) {
        let mut asked = self.0.asked.lock().await;
        if let Some((at, database, broker)) = asked.as_ref()
            && at.elapsed() < FRESH
        {
            return (database.clone(), broker.clone());
        }
        let (database, broker) = tokio::join!(self.ask_database(), self.ask_broker());
        *asked = Some((Instant::now(), database.clone(), broker.clone()));
        (database, broker)
    }

    async fn ask_database(&self) -> Component {
        let question = sqlx::query("SELECT 1").execute(self.0.database.statement(Operation::Sample));
        match tokio::time::timeout(CHECK_TIMEOUT, question).await {
            Ok(Ok(_)) => Component::UP,
            Ok(Err(error)) => Component::of(State::Down, error.to_string()),
            Err(_) => Component::of(State::Down, no_answer()),
        }
    }

    async fn ask_broker(&self) -> Component {
        // The bus has the bound too; this one holds whatever the bus does.
        match tokio::time::timeout(CHECK_TIMEOUT, self.0.bus.ping(CHECK_TIMEOUT)).await {
            Ok(Ok(())) => Component::UP,
            Ok(Err(error)) => Component::of(State::Down, error.to_string()),
            Err(_) => Component::of(State::Down, no_answer()),
        }
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", CHECK_TIMEOUT.as_secs())
}

/// A member that is not in its group reads nothing, and has no partition that could say so.
fn group_component(out_of_group: Option<OutOfGroup>) -> Component {
    out_of_group.map_or(Component::UP, |out| Component::of(State::Retrying, out.to_string()))
}

fn partition_component(state: PartitionState) -> Component {
    match state {
        PartitionState::Running { .. } => Component::UP,
        PartitionState::Retrying { attempts, error } => {
            Component::of(State::Retrying, format!("attempt {attempts}: {error}"))
        }
        PartitionState::Stalled { since, error } => {
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            Component::of(State::Retrying, format!("stalled since {since}{error}"))
        }
        PartitionState::Stopped { error } => Component::of(State::Down, error),
    }
}

fn worker_component(Shown { failure, stalled, paused }: Shown) -> Component {
    let stalled = stalled.map(|since| format!("stalled since {since}"));
    let paused = paused.map(|reason| format!("paused: {reason}"));
    let reports: Vec<String> = [failure, stalled, paused].into_iter().flatten().collect();
    if reports.is_empty() { Component::UP } else { Component::of(State::Retrying, reports.join("; ")) }
}

fn relay_component(state: RelayState, stalled: usize) -> Component {
    match state {
        RelayState::Leading if stalled > 0 => Component::of(
            State::Retrying,
            format!("leading; stalled: no acknowledgement for messages of {stalled} partitions"),
        ),
        RelayState::Leading => Component::of(State::Up, "leading"),
        RelayState::StandingBy => Component::of(State::Up, "standing by: another replica leads"),
        RelayState::Starting => Component::of(State::Retrying, "starting"),
        RelayState::Retrying { error } => Component::of(State::Retrying, format!("retrying: {error}")),
        RelayState::Stopped => Component::of(State::Down, "stopped"),
    }
}

/// Whether the process answers at all: a probe that fails asks for a restart.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, description = "It answers")))]
pub async fn live() -> &'static str {
    "live\n"
}

/// Whether the service can answer requests: a replica whose probe fails gets no requests. Its components say what else is wrong.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operations",
    responses((status = 200, description = "Ready", body = Report), (status = 503, description = "Not ready", body = Report))
)]
pub async fn ready(AxumState(health): AxumState<Health>) -> impl IntoResponse {
    let report = health.report().await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
