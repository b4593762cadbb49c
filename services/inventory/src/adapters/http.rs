//! The HTTP API: stock levels, and replenishments.

mod views;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use contracts::envelope::correlation_id_of;
use contracts::{Cause, clock};
use events::PublishError;
use service::Deps;
use service::http::{Fault, Faults, Field, IDEMPOTENT_REPLAYED, IdempotencyKey, Json, Path, Problem, Query};
use telemetry::spans;
use telemetry::trace::trace_of;
use tracing::Instrument;
use utoipa::OpenApi;

use self::views::{Page, PageQuery, Replenishment, StockPage, StockView};
use super::postgres::{StockStore, StoreError};
use crate::application::replenish_stock::{Outcome, ReplenishStock, Replenished, replenish_stock};
use crate::config::Config;
use crate::domain::{Refusal, Sku};

#[derive(Clone, Debug)]
struct StockApi {
    store: StockStore,
    default_threshold: i64,
}

pub fn routes(config: &Config, deps: &Deps) -> Router {
    let store = StockStore::new(deps.database.clone(), deps.outbox.clone());
    let api = StockApi { store, default_threshold: i64::from(config.default_reorder_threshold) };
    Router::new()
        .route("/stock", get(list_stock))
        .route("/stock/{sku}", get(show_stock))
        .route("/stock/{sku}/replenishments", post(replenish))
        .with_state(api)
}

pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings: inventory", description = "What is kept, and for which orders it is held."),
    paths(list_stock, show_stock, replenish),
    components(schemas(StockView, StockPage, Replenishment, Problem, Fault))
)]
struct Description;

/// Stock levels, in the order of the SKUs.
#[utoipa::path(
    get, path = "/stock", tag = "stock", params(PageQuery),
    responses(
        (status = 200, description = "A page of levels", body = StockPage),
        (status = 422, description = "The query is out of range", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn list_stock(
    State(api): State<StockApi>,
    Query(query): Query<PageQuery>,
) -> Result<Json<StockPage>, Problem> {
    let page = Page::try_from(query)?;
    // One more than requested shows whether another page follows.
    let mut levels = api.store.page(&page.after, page.limit + 1).await?;
    let more = levels.len() > page.length();
    levels.truncate(page.length());
    let next_cursor = levels.last().filter(|_| more).map(|(sku, _)| sku.to_string());
    let items = levels.iter().map(|(sku, books)| StockView::new(sku, *books)).collect();
    Ok(Json(StockPage { items, next_cursor }))
}

/// The level of one SKU.
#[utoipa::path(
    get, path = "/stock/{sku}", tag = "stock",
    params(("sku" = String, Path, description = "The SKU, percent-encoded", min_length = 1, max_length = 64)),
    responses(
        (status = 200, description = "The level", body = StockView),
        (status = 404, description = "The SKU is not kept", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn show_stock(
    State(api): State<StockApi>,
    Path(sku): Path<String>,
) -> Result<Json<StockView>, Problem> {
    let unknown = || Problem::not_found(format!("the SKU {sku:?} is not kept"));
    let sku = Sku::published(&sku).map_err(|_| unknown())?;
    match api.store.find(&sku).await? {
        Some(books) => Ok(Json(StockView::new(&sku, books))),
        None => Err(unknown()),
    }
}

/// Adds units; an unknown SKU is created. The same key adds them once.
#[utoipa::path(
    post, path = "/stock/{sku}/replenishments", tag = "stock",
    params(
        ("sku" = String, Path, description = "The SKU, percent-encoded", min_length = 1, max_length = 64),
        ("Idempotency-Key" = String, Header, description = "Names this replenishment; 1 to 255 printable ASCII characters", min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$"),
    ),
    request_body = Replenishment,
    responses(
        (status = 200, description = "The level since", body = StockView),
        (status = 201, description = "The SKU was unknown; its level since", body = StockView),
        (status = 400, description = "No or no valid Idempotency-Key, or malformed JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Out of range, or the key stands for another replenishment", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn replenish(
    State(api): State<StockApi>,
    Path(sku): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Field<Replenishment>>,
) -> Result<Response, Problem> {
    let command = command(&sku, key, body).map_err(Problem::validation)?;
    let span = spans::transaction("replenish stock", api.store.database_name());
    let cause = Cause {
        correlation_id: correlation_id_of("inventory", &[&command.idempotency_key]),
        causation_id: None,
        user_id: None,
        trace: trace_of(&span),
    };
    let replenishing = api.store.transaction(|transaction| {
        replenish_stock(transaction, &command, api.default_threshold, &cause, clock::now())
    });
    match replenishing.instrument(span).await {
        Ok(Outcome::Done(answer)) => Ok(answered(&command.sku, &answer, false)),
        Ok(Outcome::Replayed(answer)) => Ok(answered(&command.sku, &answer, true)),
        Ok(Outcome::KeyReused) => Err(IdempotencyKey::reused("use a new key for a new replenishment")),
        Err(error) => Err(problem(error)),
    }
}

fn problem(error: StoreError) -> Problem {
    match error {
        StoreError::Refused(refusal) => Problem::validation(vec![fault(&refusal)]),
        StoreError::Database(error) | StoreError::Publish(PublishError::Database(error)) => error.into(),
        StoreError::Publish(_) | StoreError::NotLocked(_) => {
            tracing::error!(%error, "a replenishment can't be stored");
            Problem::internal()
        }
    }
}

fn command(sku: &str, key: String, body: Field<Replenishment>) -> Result<ReplenishStock, Vec<Fault>> {
    let mut faults = Faults::default();
    let units = faults.object("", body).and_then(|body| body.units(&mut faults));
    let sku = faults.check("", Sku::parse(sku).map_err(|error| format!("in the path: {error}")));
    let command = units.zip(sku).map(|((quantity, reorder_threshold), sku)| ReplenishStock {
        idempotency_key: key,
        sku,
        quantity,
        reorder_threshold,
    });
    faults.none_or(command)
}

fn answered(sku: &Sku, answer: &Replenished, replayed: bool) -> Response {
    let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(StockView::new(sku, answer.level))).into_response();
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn fault(refusal: &Refusal) -> Fault {
    let pointer = match refusal {
        Refusal::NegativeThreshold { .. } => "/reorder_threshold",
        Refusal::QuantityNotPositive { .. } | Refusal::TooMany { .. } => "/quantity",
        Refusal::NoLines
        | Refusal::InvalidSku(_)
        | Refusal::ConfirmedWithoutStock { .. }
        | Refusal::CancelledAfterCommit { .. }
        | Refusal::StockOutOfBalance { .. } => "",
    };
    Fault { pointer: pointer.to_owned(), detail: refusal.to_string() }
}
