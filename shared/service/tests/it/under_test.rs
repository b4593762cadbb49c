//! The service under test. This test binary runs it as a process of its own, by calling itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use contracts::clock::{new_id, now};
use contracts::order::OrderConfirmed;
use contracts::{AnyEvent, Cause, Event, TraceContext};
use database::{Operation, Transaction};
use events::{Publication, Subscribe as _};
use inbox::{Context, HandlerError, Received, Rejection, Subscriptions, UnitOfWork};
use serde::{Deserialize, Serialize};
use service::config::CommandLine;
use service::http::{
    Content, Faults, Field, InFlight, Json, List, Path, Problem, Query, UnknownFields, preferred_wait,
};
use service::{Definition, Deps, Progress, Sampler, Service, Worker};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The environment variable without which the test below does nothing.
pub(crate) const RUN: &str = "SERVICE_UNDER_TEST";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    worker_fails: bool,
    /// So many times the worker panics.
    worker_panics: u32,
    /// So many times the sampler panics.
    sampler_panics: u32,
    /// The worker has work and does none of it while this file exists.
    worker_stands_still: Option<PathBuf>,
}

/// Not a test of its own: the process that the tests start.
#[test]
fn service_under_test() {
    #[expect(clippy::disallowed_methods, reason = "separates the tests from the process that they start")]
    let Ok(mode) = std::env::var(RUN) else { return };
    let command_line = CommandLine {
        print_config: mode == "print",
        migrate: mode == "migrate",
        check_health: mode == "check",
        ..CommandLine::default()
    };
    let definition = Definition {
        name: "probe",
        listen: "127.0.0.1:0",
        migrator: sqlx_macros::migrate!("./tests/migrations"),
        publishes: &[OrderConfirmed::TYPE],
        metrics: &[],
    };
    let outcome = service::run_with(definition, &command_line, |config: &Config, deps: &Deps| {
        Ok(Service::new()
            .consumes(Subscriptions::<Applied>::new().on::<OrderConfirmed>(apply), ())
            .worker(Idle {
                fails: config.worker_fails,
                panics: config.worker_panics,
                stands_still: config.worker_stands_still.clone(),
            })
            .sampler(Panicking(AtomicU32::new(config.sampler_panics)))
            .http(routes(deps.clone()), utoipa::openapi::OpenApi::default()))
    });
    if let Err(error) = outcome {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
    // Not back into the test harness, whose own exit code would be the answer.
    std::process::exit(0);
}

fn routes(deps: Deps) -> Router {
    Router::new()
        .route("/echo", post(async |Json(body): Json<Echo>| Json(body)))
        .route("/hold", post(hold))
        .route("/items", post(items))
        .route("/strict", get(async |Query(page): Query<Strict>| page.limit.to_string()))
        .route("/nested", post(async |Json(body): Json<Nested>| Json(body)))
        .route("/page", get(async |Query(page): Query<Page>| page.limit.to_string()))
        .route("/things/{id}", get(async |Path(id): Path<Uuid>| id.to_string()))
        .route("/panic", get(fail))
        .route("/forever", get(std::future::pending::<()>))
        .route("/patient", get(patient))
        .route("/polite", get(polite))
        .route("/confirm/{id}", post(confirm))
        .route("/confirm-slowly/{id}", post(confirm_slowly))
        .with_state(deps)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nested {
    text: String,
    more: Option<Echo>,
}

#[derive(Debug, Deserialize)]
struct Page {
    limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    limit: u32,
}

/// Keeps what it was sent for as long as many clients need to send theirs.
async fn hold(Json(body): Json<Echo>) -> String {
    tokio::time::sleep(Duration::from_secs(20)).await;
    body.text.len().to_string()
}

/// A body as those of the services' commands.
#[derive(Debug, Deserialize)]
struct Items {
    items: Field<List<Item, 2000>>,
    #[serde(skip)]
    unknown: UnknownFields,
}

#[derive(Debug, Deserialize)]
struct Item {
    name: Field<String>,
    quantity: Field<i128>,
    #[serde(skip)]
    unknown: UnknownFields,
}

impl Content for Items {
    fn unknown(&mut self) -> Option<&mut UnknownFields> {
        Some(&mut self.unknown)
    }
}

impl Content for Item {
    fn unknown(&mut self) -> Option<&mut UnknownFields> {
        Some(&mut self.unknown)
    }
}

async fn items(Json(body): Json<Field<Items>>) -> Result<StatusCode, Problem> {
    let mut faults = Faults::default();
    let named = faults.object("", body).and_then(|body| {
        faults.unknown("", &body.unknown);
        faults.array("/items", body.items)
    });
    let count = named.and_then(|items| {
        let count = items.count();
        let few = if count <= 2_000 { Ok(count) } else { Err("has too many items") };
        let count = faults.check("/items", few);
        for (index, item) in items.into_items().into_iter().enumerate() {
            let at = format!("/items/{index}");
            let item = faults.object(&at, item)?;
            faults.unknown(&at, &item.unknown);
            faults.text(format_args!("{at}/name"), item.name, |name| Ok::<_, String>(name.len()));
            let positive = |quantity| if quantity > 0 { Ok(quantity) } else { Err("is above 0") };
            faults.integer(format_args!("{at}/quantity"), item.quantity, positive);
        }
        count
    });
    faults.none_or(count).map_err(Problem::validation)?;
    Ok(StatusCode::NO_CONTENT)
}

#[expect(clippy::panic, reason = "a test of what a panic becomes")]
async fn fail() -> &'static str {
    tokio::task::yield_now().await;
    panic!("the test asks for it")
}

/// Waits without end and without taking a place from others.
async fn polite(in_flight: axum::Extension<InFlight>) {
    in_flight.release();
    std::future::pending::<()>().await;
}

/// Never answers, and honours that its client prefers to wait.
async fn patient(in_flight: axum::Extension<InFlight>, headers: HeaderMap) {
    if let Some(wait) = preferred_wait(&headers) {
        in_flight.prolong(wait);
    }
    std::future::pending::<()>().await;
}

async fn confirm(State(deps): State<Deps>, Path(order_id): Path<Uuid>) -> Result<StatusCode, Problem> {
    store(&deps, order_id, Duration::ZERO).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Its transaction takes a while.
async fn confirm_slowly(State(deps): State<Deps>, Path(order_id): Path<Uuid>) -> Result<StatusCode, Problem> {
    store(&deps, order_id, Duration::from_secs(2)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn store(deps: &Deps, order_id: Uuid, pause: Duration) -> Result<(), Problem> {
    let event = OrderConfirmed {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 1,
        payment_id: new_id(),
    };
    let cause =
        Cause { correlation_id: new_id(), causation_id: None, user_id: None, trace: TraceContext::default() };
    let message = deps
        .outbox
        .encode(&Publication { event: event.into_any(), cause, last_message_id: None })
        .map_err(|_| Problem::internal())?;
    let storing = async |mut transaction: Transaction| {
        sqlx::query("INSERT INTO confirmed (order_id) VALUES ($1)")
            .bind(order_id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("SELECT pg_sleep($1)").bind(pause.as_secs_f64()).execute(&mut *transaction).await?;
        let numbered =
            deps.outbox.number(&mut transaction, vec![message]).await.map_err(|_| Problem::internal())?;
        deps.outbox.append(&mut transaction, &numbered).await.map_err(|_| Problem::internal())?;
        Ok::<_, Problem>(transaction.commit().await?)
    };
    deps.database.transaction(Operation::Request, storing).await?;
    deps.outbox.wake();
    Ok(())
}

/// What the service consumes: its own confirmations.
#[derive(Clone)]
struct Applied(Vec<Uuid>);

fn apply(applied: &mut Applied, event: &OrderConfirmed, _: Context<'_>) -> Result<(), Rejection> {
    applied.0.push(event.order_id);
    Ok(())
}

impl UnitOfWork for Applied {
    type Event = AnyEvent;
    type Deps = ();

    async fn load(
        (): &(),
        _: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        debug_assert!(events.iter().all(|received| matches!(received.event, AnyEvent::OrderConfirmed(_))));
        Ok(Self(Vec::new()))
    }

    async fn store(self, (): &(), conn: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO applied (order_id) SELECT unnest($1::uuid[])")
            .bind(self.0)
            .execute(conn)
            .await?;
        Ok(())
    }
}

struct Idle {
    fails: bool,
    panics: u32,
    stands_still: Option<PathBuf>,
}

#[async_trait]
impl Worker for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        let left = self.panics;
        self.panics = left.saturating_sub(1);
        assert_eq!(left, 0, "the test asks for it");
        if self.fails {
            anyhow::bail!("the test asks for it");
        }
        loop {
            let stands_still = self.stands_still.as_ref().is_some_and(|file| file.exists());
            if !stands_still {
                progress.idle();
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }
}

/// Panics so many times.
struct Panicking(AtomicU32);

#[async_trait]
impl Sampler for Panicking {
    async fn sample(&self) -> anyhow::Result<()> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "the test asks for it");
        Ok(())
    }
}
