//! What a service has parked, and its redrive: for the person whom the alarm woke.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use inbox::HandlerError;
use inbox::redrive::{self, Redrive};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

use super::{Json, Path, Problem, Query};

/// Events of one answer.
const PAGE: u16 = 100;

/// What the routes need: the service's database and its consumer, if it has one.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) pool: PgPool,
    pub(crate) redrive: Option<Arc<dyn Redrive>>,
}

/// Documents them.
#[derive(OpenApi)]
#[openapi(paths(list, redrive), components(schemas(ParkedBody, RedrivenBody)))]
pub(crate) struct ParkedRoutes;

pub(crate) fn routes(operations: Operations) -> Router {
    Router::new()
        .route("/parked", get(list))
        .route("/parked/{id}/redrive", post(redrive))
        .with_state(operations)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only events behind this one.
    #[serde(default)]
    after: i64,
}

/// An event that waits for a person, without its content.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParkedBody {
    /// What redrive calls it.
    id: i64,
    /// Full topic name.
    topic: String,
    /// The record's key, if it has one.
    key: Option<String>,
    /// The event's id, if it could be read.
    event_id: Option<Uuid>,
    /// Its full name, if it could be read.
    event_type: Option<String>,
    /// A stable code; `behind_parked` waits for another one of its key.
    reason: String,
    /// Which state met which event.
    detail: String,
    /// Since when (RFC 3339).
    parked_at: String,
}

/// What became of a key's parked events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedrivenBody {
    /// Had their effect now.
    applied: u64,
    /// Still wait.
    remaining: i64,
    /// Why the first of those that wait was refused again.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// The events that could not be applied, oldest first, a hundred at a time.
#[utoipa::path(
    get,
    path = "/parked",
    tag = "operations",
    params(Page),
    responses((status = 200, description = "Parked events", body = Vec<ParkedBody>))
)]
pub(super) async fn list(
    State(operations): State<Operations>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<ParkedBody>>, Problem> {
    let parked = redrive::list(&operations.pool, page.after, PAGE).await?;
    let body = parked.into_iter().map(|event| ParkedBody {
        id: event.id,
        topic: event.topic,
        key: event.key,
        event_id: event.event_id,
        event_type: event.event_type,
        reason: event.reason,
        detail: event.detail,
        parked_at: event.parked_at.to_rfc3339(),
    });
    Ok(Json(body.collect()))
}

/// Applies the parked events of the same key as this one, oldest first, until one is refused again.
#[utoipa::path(
    post,
    path = "/parked/{id}/redrive",
    tag = "operations",
    params(("id" = i64, Path, description = "Any parked event of the key")),
    responses(
        (status = 200, description = "What became of them", body = RedrivenBody),
        (status = 404, description = "No such event is parked", body = Problem),
        (status = 503, description = "Database or registry don't answer; try again", body = Problem)
    )
)]
pub(super) async fn redrive(
    State(operations): State<Operations>,
    Path(id): Path<i64>,
) -> Result<Json<RedrivenBody>, Problem> {
    let redriven = match &operations.redrive {
        Some(consumer) => consumer.redrive(id).await.map_err(|error| unavailable(&error))?,
        None => None,
    };
    let redriven = redriven.ok_or_else(|| Problem::not_found(format!("event {id} is not parked here")))?;
    let redrive::Redriven { applied, remaining, refused } = redriven;
    Ok(Json(RedrivenBody { applied, remaining, refused }))
}

fn unavailable(error: &HandlerError) -> Problem {
    tracing::warn!(%error, "a redrive was interrupted");
    Problem::unavailable(
        "the redrive was interrupted; what it had applied stays applied, the rest is still parked",
    )
}
