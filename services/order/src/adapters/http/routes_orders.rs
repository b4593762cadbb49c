//! `GET /orders/{order_id}`, its history, and its cancellation.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use contracts::clock;
use database::Operation;
use serde::Deserialize;
use service::http::{Json, Path, Problem, Query};
use telemetry::spans;
use telemetry::trace::trace_of;
use tracing::field::display;
use tracing::{Instrument, Span};
use utoipa::IntoParams;

use super::views::{HistoryBody, OrderBody};
use super::{Api, headers, problems};
use crate::application::cancel_order;
use crate::domain::OrderId;

/// How to look at an order.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetQuery {
    /// The order as it was then (RFC 3339).
    as_of: Option<DateTime<Utc>>,
}

/// An id that is no UUID names no order.
pub(super) fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map(OrderId).map_err(|_| problems::not_found(text))
}

/// Look at an order.
#[utoipa::path(
    get,
    path = "/orders/{order_id}",
    tag = "orders",
    params(
        ("order_id" = String, Path, description = "The order"),
        GetQuery,
        ("If-None-Match" = Option<String>, Header, description = "ETags that you have"),
    ),
    responses(
        (status = 200, description = "The order", body = OrderBody, headers(("ETag" = String, description = "The order's version"))),
        (status = 304, description = "You have it"),
        (status = 400, description = "Invalid time", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is, or was then, no such order", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Out of reach, or only a newer release can tell what was then; try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_order(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<GetQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = order_id(&id)?;
    let view = match query.as_of {
        None => api.store.view(order_id).await?,
        Some(as_of) => api.store.history(order_id).await?.at(as_of)?.cloned(),
    };
    let view = view.ok_or_else(|| problems::not_found(&id))?;
    let etag = headers::etag(view.version);
    if headers::none_match(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let trace = api.store.trace(order_id).await?;
    Ok(([(header::ETAG, etag)], Json(OrderBody::of(&view, &trace))).into_response())
}

/// See every state that an order was in.
///
/// During an update a newer release may have stored events that this one does not know: the states end before the first
/// of them, and the events from there on are listed without their states.
#[utoipa::path(
    get,
    path = "/orders/{order_id}/history",
    tag = "orders",
    params(("order_id" = String, Path, description = "The order")),
    responses(
        (status = 200, description = "Its states, oldest first", body = HistoryBody),
        (status = 404, description = "There is no such order", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_history(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<HistoryBody>, Problem> {
    let order_id = order_id(&id)?;
    let history = api.store.history(order_id).await?;
    if history.version() == 0 {
        return Err(problems::not_found(&id));
    }
    Ok(Json(HistoryBody::of(order_id, &history)))
}

/// Cancel an order.
///
/// Also when repeated, and also when it was cancelled for another reason: what you want is so.
#[utoipa::path(
    post,
    path = "/orders/{order_id}/cancellation",
    tag = "orders",
    params(("order_id" = String, Path, description = "The order")),
    responses(
        (status = 202, description = "It is cancelled; stock and money go back", body = OrderBody, headers(("ETag" = String, description = "The order's version"))),
        (status = 404, description = "There is no such order", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was confirmed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel_order(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order_id = order_id(&id)?;
    // The cancellation belongs to the order's trace, whoever asks for it in whichever trace.
    let trace = api.store.trace(order_id).await?;
    let transaction = spans::transaction("cancel order", api.store.database_name());
    telemetry::set_parent(&transaction, &trace);
    spans::link(&Span::current(), &transaction);
    transaction.record("tidings.order_id", display(order_id));
    let caused_by = trace_of(&transaction);
    let use_case = |transaction| cancel_order::cancel_order(transaction, order_id, caused_by, clock::now());
    api.store.transaction(Operation::Request, use_case).instrument(transaction).await?;
    api.watcher.wake();
    let view = api.store.view(order_id).await?;
    let view = view.ok_or_else(|| problems::not_found(&id))?;
    let headers =
        [(header::ETAG, headers::etag(view.version)), (header::LOCATION, format!("/orders/{order_id}"))];
    Ok((StatusCode::ACCEPTED, headers, Json(OrderBody::of(&view, &trace))).into_response())
}
