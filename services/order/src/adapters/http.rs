//! The order API.

mod headers;
mod problems;
mod request;
mod routes_list;
mod routes_orders;
mod routes_place;
mod routes_stream;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use chrono::TimeDelta;
use service::group_commit::GroupCommit;
use utoipa::OpenApi;

use super::postgres::OrderStore;
use super::watch::Watcher;
use crate::config::Config;

/// What the handlers share.
#[derive(Clone, Debug)]
struct Api {
    placings: GroupCommit<OrderStore>,
    store: OrderStore,
    watcher: Watcher,
    deadline: TimeDelta,
    stream_lifetime: Duration,
}

/// The order API's description.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Tidings: orders", description = "Accepts orders and shows how they end."),
    paths(
        routes_place::place_order,
        routes_orders::get_order,
        routes_orders::get_history,
        routes_orders::cancel_order,
        routes_list::list_orders,
        routes_stream::stream_order,
    ),
    components(schemas(service::http::Problem, service::http::Fault))
)]
pub struct OrderApi;

/// The order API's routes.
pub fn routes(store: OrderStore, watcher: Watcher, config: &Config) -> Router {
    let api = Api {
        placings: GroupCommit::new(store.clone()),
        store,
        watcher,
        deadline: TimeDelta::milliseconds(i64::from(config.deadline_ms)),
        stream_lifetime: Duration::from_millis(u64::from(config.stream_lifetime_ms)),
    };
    Router::new()
        .route("/orders", post(routes_place::place_order).get(routes_list::list_orders))
        .route("/orders/{order_id}", get(routes_orders::get_order))
        .route("/orders/{order_id}/history", get(routes_orders::get_history))
        .route("/orders/{order_id}/events", get(routes_stream::stream_order))
        .route("/orders/{order_id}/cancellation", post(routes_orders::cancel_order))
        .with_state(Arc::new(api))
}
