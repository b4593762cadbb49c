//! A service's dead letters, and their redrive: for the person whom the alarm woke.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use inbox::{HandlerError, Redrive};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

use super::{Json, Path, Problem, Query};
use crate::runtime::Deps;

/// Letters of one answer.
const PAGE: u16 = 100;

/// Who redrives, as the audit has it: there is no authentication.
const ACTOR: &str = "http";

/// What the routes need: the service's parts, and its consumer if it has one.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) deps: Deps,
    pub(crate) redrive: Option<Redrive>,
}

/// Documents them.
#[derive(OpenApi)]
#[openapi(paths(list, redrive), components(schemas(DeadLetterPage, DeadLetterBody, RedrivenBody)))]
pub(crate) struct DeadLetterRoutes;

pub(crate) fn routes(operations: Operations) -> Router {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/{id}/redrive", post(redrive))
        .with_state(operations)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only letters behind this one: `next_cursor` of the page before.
    #[serde(default)]
    #[param(default = 0)]
    cursor: i64,
}

/// A page of dead letters, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterPage {
    /// The letters.
    dead_letters: Vec<DeadLetterBody>,
    /// Where the next page begins; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<i64>,
}

/// A dead letter, without its content.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterBody {
    /// What redrive calls it.
    id: i64,
    /// Full topic name.
    topic: String,
    /// The record's key, if it has one.
    key: Option<String>,
    /// The event's id; one that begins with ff was made, because the record's own can't be read.
    event_id: Uuid,
    /// Its full name, if it could be read.
    event_type: Option<String>,
    /// A stable code; `behind_dead_letter` waits for another one of its key.
    reason: String,
    /// Which state met which event.
    detail: String,
    /// How often it was redriven in vain.
    attempts: i32,
    /// Since when (RFC 3339).
    dead_lettered_at: String,
}

/// What became of a key's dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedrivenBody {
    /// Their events had their effects now.
    applied: u64,
    /// Gone without an effect, because their events had been applied or discarded before.
    already_decided: u64,
    /// Still wait.
    remaining: i64,
    /// Why the first of those that wait was rejected again.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<String>,
}

/// The dead letters, oldest first, a hundred at a time.
#[utoipa::path(
    get,
    path = "/dead-letters",
    tag = "operations",
    params(Page),
    responses((status = 200, description = "Dead letters", body = DeadLetterPage))
)]
pub(super) async fn list(
    State(operations): State<Operations>,
    Query(page): Query<Page>,
) -> Result<Json<DeadLetterPage>, Problem> {
    let letters = inbox::list_dead_letters(&operations.deps.database, page.cursor, PAGE).await?;
    let next_cursor = letters.last().filter(|_| letters.len() == usize::from(PAGE)).map(|letter| letter.id);
    let body = letters.into_iter().map(|letter| DeadLetterBody {
        id: letter.id,
        topic: letter.topic,
        key: letter.key,
        event_id: letter.event_id,
        event_type: letter.event_type,
        reason: letter.reason,
        detail: letter.detail,
        attempts: letter.attempts,
        dead_lettered_at: letter.dead_lettered_at.to_rfc3339(),
    });
    Ok(Json(DeadLetterPage { dead_letters: body.collect(), next_cursor }))
}

/// Applies the dead letters of the same key as this one, oldest first, until one is rejected again.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/redrive",
    tag = "operations",
    params(("id" = i64, Path, description = "Any dead letter of the key", minimum = 1)),
    responses(
        (status = 200, description = "What became of them", body = RedrivenBody),
        (status = 404, description = "There is no such dead letter", body = Problem),
        (status = 503, description = "Database or registry don't answer; try again", body = Problem)
    )
)]
pub(super) async fn redrive(
    State(operations): State<Operations>,
    Path(id): Path<i64>,
) -> Result<Json<RedrivenBody>, Problem> {
    let redriven = match &operations.redrive {
        Some(consumer) => consumer.redrive(id, ACTOR).await.map_err(|error| unavailable(&error))?,
        None => None,
    };
    let redriven =
        redriven.ok_or_else(|| Problem::not_found(format!("there is no dead letter {id} here")))?;
    let inbox::Redriven { applied, already_decided, remaining, rejected } = redriven;
    Ok(Json(RedrivenBody { applied, already_decided, remaining, rejected }))
}

fn unavailable(error: &HandlerError) -> Problem {
    tracing::warn!(%error, "a redrive was interrupted");
    Problem::unavailable(
        "the redrive was interrupted; what it had applied stays applied, the rest are still dead letters",
    )
}
