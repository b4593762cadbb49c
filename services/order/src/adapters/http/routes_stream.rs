//! `GET /orders/{order_id}/events`: server-sent events, resumable, over any replica.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use service::http::{Path, Problem};
use tokio::time::Instant;

use super::views::{self, StateBody, StateEvent};
use super::{Api, headers, problems, routes_orders};
use crate::adapters::postgres::{History, WrittenByNewerRelease};
use crate::adapters::watch::Watch;
use crate::domain::OrderId;

/// A comment is sent when nothing else was for so long: proxies and clients see that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it resumes a stream that broke.
const RECONNECT: Duration = Duration::from_secs(1);

/// Follow an order.
///
/// One event per state that the order comes into: `id` is the version, `event` the stage, `data` the state as in the
/// history. Ends after the order's end; resume a broken stream with `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/orders/{order_id}/events",
    tag = "orders",
    params(
        ("order_id" = String, Path, description = "The order"),
        ("Last-Event-ID" = Option<i64>, Header, description = "The last id that you got", minimum = 0),
    ),
    responses(
        (status = 200, description = "Server-sent events, each of them", body = StateEvent, content_type = "text/event-stream"),
        (status = 204, description = "You have seen the order's end: nothing will follow"),
        (status = 404, description = "There is no such order", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many streams, of this customer or of all; or only a newer release can tell more. Try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stream_order(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = routes_orders::order_id(&id)?;
    let after = headers::last_event_id(&headers)?;
    let view = api.store.view(order_id).await?;
    let view = view.ok_or_else(|| problems::not_found(&id))?;
    let permit = api.watcher.stream_permit(&view.placement.customer_id)?;
    let history = api.store.history(order_id).await?;
    let last = views::states(&history.views).pop();
    if last.as_ref().is_some_and(|state| state.is_end() && state.version <= after) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if !history.unfolded.is_empty() && last.is_none_or(|state| state.version <= after) {
        return Err(WrittenByNewerRelease.into());
    }
    let mut follower = Follower {
        until: Instant::now() + api.stream_lifetime,
        watch: permit.watch(order_id),
        api,
        order_id,
        read_to: 0,
        sent_to: after,
        pending: Vec::new(),
        ended: false,
    };
    follower.read(&history);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let mut response = Sse::new(follower.into_stream()).keep_alive(keep_alive).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// One stream: what it has sent, and what it waits for.
struct Follower {
    api: Arc<Api>,
    watch: Watch,
    order_id: OrderId,
    until: Instant,
    /// The version up to which the order's stream was read.
    read_to: i64,
    /// The version up to which the client knows the order.
    sent_to: i64,
    /// Read but not yet sent, newest first.
    pending: Vec<StateBody>,
    /// Nothing follows what is pending, or this release can't tell it.
    ended: bool,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = StateEvent::of(&follower.next().await?, RECONNECT).ok()?;
            Some((Ok(event.into()), follower))
        })
    }

    /// The next state; none after the end, when the stream has lasted long enough, or when the service stops.
    async fn next(&mut self) -> Option<StateBody> {
        loop {
            if let Some(state) = self.pending.pop() {
                self.sent_to = state.version;
                return Some(state);
            }
            if self.ended {
                return None;
            }
            tokio::time::timeout_at(self.until, self.watch.beyond(self.read_to)).await.ok()??;
            match self.api.store.history(self.order_id).await {
                Ok(history) => self.read(&history),
                Err(error) => {
                    tracing::warn!(%error, order_id = %self.order_id, "an event stream ended early");
                    return None;
                }
            }
        }
    }

    /// Takes what the client does not know yet.
    fn read(&mut self, history: &History) {
        self.read_to = history.version();
        self.pending = views::states(&history.views);
        self.ended = !history.unfolded.is_empty() || self.pending.last().is_some_and(StateBody::is_end);
        self.pending.retain(|state| state.version > self.sent_to);
        self.pending.reverse();
    }
}
