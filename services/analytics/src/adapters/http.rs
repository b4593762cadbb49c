//! The HTTP API: the read models as JSON.

mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::{get, post};
use contracts::clock;
use database::Database;
use service::http::{Fault, Json, Path, Problem, Query};
use tokio::sync::Notify;
use utoipa::OpenApi;

use self::views::{
    AlertQuery, AlertView, BestSellerQuery, BestSellerView, FunnelView, Ranking, RebuildView, RevenueAnswer,
    RevenueQuery, RevenueView, TimesView,
};
use super::postgres::{ReadModelStore, rebuilds};

#[derive(Clone, Debug)]
struct Api {
    database: Database,
    rebuilder: Arc<Notify>,
}

impl FromRef<Api> for ReadModelStore {
    fn from_ref(api: &Api) -> Self {
        Self::new(api.database.clone())
    }
}

/// A request for a rebuild wakes `rebuilder`.
pub fn routes(database: Database, rebuilder: Arc<Notify>) -> Router {
    Router::new()
        .route("/analytics/funnel", get(funnel))
        .route("/analytics/revenue", get(revenue))
        .route("/analytics/best-sellers", get(best_sellers))
        .route("/analytics/time-to-confirm", get(time_to_confirm))
        .route("/analytics/stock-alerts", get(stock_alerts))
        .route("/analytics/rebuilds", post(begin_rebuild))
        .route("/analytics/rebuilds/{generation}", get(show_rebuild).delete(give_up_rebuild))
        .with_state(Api { database, rebuilder })
}

pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings: analytics",
        description = "Read models of what happened. They follow the events, and so lag behind them a little."
    ),
    paths(
        funnel,
        revenue,
        best_sellers,
        time_to_confirm,
        stock_alerts,
        begin_rebuild,
        show_rebuild,
        give_up_rebuild
    ),
    components(schemas(Problem, Fault))
)]
struct Description;

/// How many orders reached each stage.
#[utoipa::path(get, path = "/analytics/funnel", tag = "analytics", responses((status = 200, body = FunnelView)))]
async fn funnel(State(store): State<ReadModelStore>) -> Result<Json<FunnelView>, Problem> {
    let orders = store.funnel().await?;
    Ok(Json(FunnelView::new(&orders)))
}

/// Revenue over confirmed orders: of one currency, or a list of all.
#[utoipa::path(
    get, path = "/analytics/revenue", tag = "analytics", params(RevenueQuery),
    responses(
        (status = 200, body = RevenueAnswer),
        (status = 422, description = "The query is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn revenue(
    State(store): State<ReadModelStore>,
    Query(query): Query<RevenueQuery>,
) -> Result<Json<RevenueAnswer>, Problem> {
    let currency = query.currency()?;
    let revenue = store.revenue().await?;
    Ok(Json(match currency {
        Some(currency) => {
            let of_currency = revenue.get(&currency).copied().unwrap_or_default();
            RevenueAnswer::One(RevenueView::new(currency, of_currency))
        }
        None => RevenueAnswer::All(
            revenue.into_iter().map(|(currency, revenue)| RevenueView::new(currency, revenue)).collect(),
        ),
    }))
}

/// What sold best in confirmed orders, best first, ties by SKU: by units over all currencies or in one, or by revenue in
/// one. Amounts of different currencies are neither added nor compared, so `by=revenue` requires a currency.
#[utoipa::path(
    get, path = "/analytics/best-sellers", tag = "analytics", params(BestSellerQuery),
    responses(
        (status = 200, body = Vec<BestSellerView>),
        (status = 422, description = "The query is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn best_sellers(
    State(store): State<ReadModelStore>,
    Query(query): Query<BestSellerQuery>,
) -> Result<Json<Vec<BestSellerView>>, Problem> {
    let (ranking, limit) = query.parts()?;
    let sold = match ranking {
        Ranking::Units => {
            let sold = store.best_sellers(limit).await?;
            let view = |(sku, units)| BestSellerView::over_all_currencies(sku, units);
            return Ok(Json(sold.into_iter().map(view).collect()));
        }
        Ranking::UnitsIn(currency) => store.best_sellers_by_units(&currency, limit).await?,
        Ranking::RevenueIn(currency) => store.best_sellers_by_revenue(&currency, limit).await?,
    };
    Ok(Json(sold.into_iter().map(BestSellerView::from).collect()))
}

/// How long confirmed orders took from placed to confirmed, by the order service's clock.
#[utoipa::path(
    get, path = "/analytics/time-to-confirm", tag = "analytics", responses((status = 200, body = TimesView))
)]
async fn time_to_confirm(State(store): State<ReadModelStore>) -> Result<Json<TimesView>, Problem> {
    let buckets = store.time_to_confirm().await?;
    Ok(Json(TimesView::new(&buckets)))
}

/// The SKUs that are low, the newest alert first. An alert is raised when the level falls below the reorder threshold,
/// or begins below it, and lifted by a replenishment or a released reservation that reaches it.
#[utoipa::path(
    get, path = "/analytics/stock-alerts", tag = "analytics", params(AlertQuery),
    responses(
        (status = 200, body = Vec<AlertView>),
        (status = 422, description = "The query is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn stock_alerts(
    State(store): State<ReadModelStore>,
    Query(query): Query<AlertQuery>,
) -> Result<Json<Vec<AlertView>>, Problem> {
    let alerts = store.standing_alerts(query.limit()?).await?;
    Ok(Json(alerts.into_iter().map(AlertView::from).collect()))
}

/// Counts everything again from the topics, beside what is served, and swaps when it has caught up. While one rebuild
/// is under way, another request returns that one.
#[utoipa::path(
    post, path = "/analytics/rebuilds", tag = "rebuilds",
    responses((status = 202, description = "The rebuild; Location is its address", body = RebuildView))
)]
async fn begin_rebuild(
    State(api): State<Api>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RebuildView>), Problem> {
    let Some(rebuild) = rebuilds::begin(&api.database, clock::now()).await? else {
        return Err(Problem::unavailable("a rebuild has just ended: repeat the request"));
    };
    api.rebuilder.notify_one();
    let location = format!("/analytics/rebuilds/{}", rebuild.generation);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(rebuild.into())))
}

/// The state of a rebuild, and why its last try failed.
#[utoipa::path(
    get, path = "/analytics/rebuilds/{generation}", tag = "rebuilds",
    params(("generation" = i32, Path, description = "The number of the generation")),
    responses(
        (status = 200, body = RebuildView),
        (status = 404, description = "There is no such generation", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn show_rebuild(
    State(api): State<Api>,
    Path(generation): Path<i32>,
) -> Result<Json<RebuildView>, Problem> {
    match rebuilds::find(&api.database, generation).await? {
        Some(rebuild) => Ok(Json(rebuild.into())),
        None => Err(Problem::not_found(format!("there is no generation {generation}"))),
    }
}

/// Gives a rebuild up: what is served stays as it is, the rows of the rebuild are deleted, and another one can be begun.
#[utoipa::path(
    delete, path = "/analytics/rebuilds/{generation}", tag = "rebuilds",
    params(("generation" = i32, Path, description = "The number of the generation")),
    responses(
        (status = 200, description = "The rebuild, which is `failed` now", body = RebuildView),
        (status = 404, description = "There is no such generation", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended already", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn give_up_rebuild(
    State(api): State<Api>,
    Path(generation): Path<i32>,
) -> Result<Json<RebuildView>, Problem> {
    let given_up = rebuilds::give_up(&api.database, generation).await?;
    let Some(rebuild) = rebuilds::find(&api.database, generation).await? else {
        return Err(Problem::not_found(format!("there is no generation {generation}")));
    };
    if given_up {
        return Ok(Json(rebuild.into()));
    }
    let ended = Problem::new(StatusCode::CONFLICT, "rebuild-ended", "The rebuild has ended");
    Err(ended.detail(format!("generation {generation} is {}", rebuild.state)))
}
