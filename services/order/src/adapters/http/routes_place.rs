//! `POST /orders`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::envelope::correlation_id_of;
use contracts::{Cause, clock};
use service::http::{Field, IDEMPOTENT_REPLAYED, IdempotencyKey, InFlight, Json, Problem, preferred_wait};
use telemetry::spans;
use telemetry::trace::trace_of;
use tracing::Instrument;
use tracing::field::display;

use super::request::{self, PlaceOrderRequest};
use super::views::OrderBody;
use super::{Api, headers, problems};
use crate::adapters::postgres::StoreError;
use crate::adapters::watch::WaitPermit;
use crate::application::{Answer, CustomerKey, PlaceOutcome, Placing, place_order};
use crate::domain::{OrderId, Placement};

/// Place an order.
///
/// Answers once the order is committed; how it ends follows. Send the same request with the same key as often as you
/// like: it places one order, and you get the answer that was given the first time.
#[utoipa::path(
    post,
    path = "/orders",
    tag = "orders",
    params(
        ("Idempotency-Key" = String, Header, description = "1 to 255 printable ASCII characters, per customer; lives as long as the order", min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$"),
        ("Prefer" = Option<String>, Header, description = "`wait=N` (RFC 7240, at most 30) holds the answer until the order has ended or N seconds are over; not held, and no `Preference-Applied`, while too many wait, of all or of this customer"),
    ),
    request_body = PlaceOrderRequest,
    responses(
        (status = 202, description = "Committed", body = OrderBody, headers(
            ("Location" = String, description = "The order"),
            ("ETag" = String, description = "The order's version"),
            ("Idempotent-Replayed" = Option<String>, description = "`true` if the key had placed this order before"),
            ("Preference-Applied" = Option<String>, description = "`wait=N`, as applied"),
        )),
        (status = 400, description = "No or no valid Idempotency-Key, or malformed JSON", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body has more than 1 MiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not announced as application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The order is invalid (all faults are listed) or too large, or the key came with another request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Out of reach; try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn place_order(
    State(api): State<Arc<Api>>,
    in_flight: Option<Extension<InFlight>>,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    Json(body): Json<Field<PlaceOrderRequest>>,
) -> Result<Response, Problem> {
    let placement = request::parse(body).map_err(Problem::validation)?;
    let wait = match preferred_wait(&headers) {
        // Without a place the order is placed all the same, and its end is not waited for.
        Some(timeout) => api.watcher.wait_permit(&placement.customer_id).ok().map(|permit| (timeout, permit)),
        None => None,
    };
    let key = CustomerKey { customer_id: placement.customer_id.clone(), key };
    let (order_id, answer, replayed) = place(&api, placement, key).await?;
    let (answer, applied) = match wait {
        Some((timeout, permit)) => {
            // The work is done: from here on, the limit of those who wait is what bounds it.
            if let Some(Extension(in_flight)) = in_flight {
                in_flight.prolong(timeout);
                in_flight.release();
            }
            (wait_for_end(&api, order_id, answer, timeout, permit).await, Some(timeout.as_secs()))
        }
        None => (answer, None),
    };
    Ok(respond(order_id, answer, replayed, applied))
}

/// Places the order, or finds the answer that its key was given before; true then.
async fn place(
    api: &Api,
    placement: Placement,
    key: CustomerKey,
) -> Result<(OrderId, Answer, bool), Problem> {
    let transaction = spans::transaction("place order", api.store.database_name());
    let trace = trace_of(&transaction);
    let cause = Cause {
        correlation_id: correlation_id_of("order", &[placement.customer_id.as_str(), &key.key]),
        causation_id: None,
        user_id: Some(placement.customer_id.to_string()),
        trace: trace.clone(),
    };
    let order_id = OrderId(clock::new_id());
    transaction.record("tidings.order_id", display(order_id));
    let (view, outcome) = place_order::prepare(order_id, placement, api.deadline, &cause, clock::now())
        .map_err(StoreError::from)?;
    let answer = answer(&OrderBody::of(&view, &trace), view.version)?;
    let prepared = api.store.announce(outcome)?;
    let placing = Placing { key, order_id, request: view.placement, answer: answer.clone(), prepared };
    let outcome = api.placings.commit(placing).instrument(transaction).await;
    match outcome.map_err(problems::of_group)? {
        PlaceOutcome::Placed => {
            api.watcher.wake();
            Ok((order_id, answer, false))
        }
        PlaceOutcome::Replayed { order_id, answer } => Ok((order_id, answer, true)),
        PlaceOutcome::KeyReused => {
            Err(IdempotencyKey::reused("a key belongs to one request; use a new key for a new order"))
        }
    }
}

fn answer(body: &OrderBody, version: i64) -> Result<Answer, Problem> {
    let body = serde_json::to_string(body).map_err(|_| Problem::internal())?;
    Ok(Answer { status_code: StatusCode::ACCEPTED.as_u16(), etag: headers::etag(version), body })
}

/// Waits for the order's end. The order is committed already: a later failure does not change the response.
async fn wait_for_end(
    api: &Api,
    order_id: OrderId,
    placed: Answer,
    timeout: std::time::Duration,
    permit: WaitPermit,
) -> Answer {
    let mut watch = permit.watch(order_id);
    let _ = tokio::time::timeout(timeout, watch.ended()).await;
    let seen = async { Ok((api.store.view(order_id).await?, api.store.trace(order_id).await?)) };
    match seen.await {
        Ok((Some(view), trace)) => answer(&OrderBody::of(&view, &trace), view.version).unwrap_or(placed),
        Ok((None, _)) => placed,
        Err::<_, StoreError>(error) => {
            tracing::warn!(%error, %order_id, "could not read an order after waiting for its end");
            placed
        }
    }
}

fn respond(order_id: OrderId, answer: Answer, replayed: bool, waited_s: Option<u64>) -> Response {
    let status = StatusCode::from_u16(answer.status_code).unwrap_or(StatusCode::ACCEPTED);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(header::LOCATION, format!("/orders/{order_id}"));
    put(header::ETAG, answer.etag);
    if replayed {
        put(IDEMPOTENT_REPLAYED, "true".to_owned());
    }
    if let Some(seconds) = waited_s {
        put(HeaderName::from_static("preference-applied"), format!("wait={seconds}"));
    }
    response
}
