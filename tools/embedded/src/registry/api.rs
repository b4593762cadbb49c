//! The registry's HTTP edge: paths, bodies and error codes as Confluent documents them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::store::{Level, Refusal, Store, Version, refusal};

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The state of one registry.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Store>>);

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = Result<Success, Refusal>;

struct Success(Value);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Value>,
}

#[derive(Deserialize)]
struct Wish {
    compatibility: String,
}

pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Success(json!({})) }))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/schemas/ids/{id}", get(schema))
        .route("/schemas/ids/{id}/subjects", get(schema_subjects))
        .route("/schemas/ids/{id}/versions", get(schema_versions))
        .route("/compatibility/subjects/{subject}/versions", post(check))
        .route("/config", get(global_level).put(set_global_level))
        .route("/config/{subject}", get(level).put(set_level))
        .fallback(|| async { refusal(404, 404, "HTTP 404 Not Found") })
        .with_state(Shared::default())
}

async fn subjects(State(shared): State<Shared>) -> Answer {
    Ok(Success(shared.store().subjects().collect()))
}

async fn register(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Submitted>,
) -> Answer {
    let id = shared.store().register(&subject, body.avro()?)?;
    Ok(Success(json!({ "id": id })))
}

async fn look_up(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Submitted>,
) -> Answer {
    let text = body.avro()?;
    let (id, version) = shared.store().look_up(&subject, text)?;
    Ok(Success(json!({ "subject": subject, "id": id, "version": version, "schema": text })))
}

async fn versions(State(shared): State<Shared>, Path(subject): Path<String>) -> Answer {
    Ok(Success(shared.store().versions(&subject)?.iter().map(|version| version.number).collect()))
}

async fn version(State(shared): State<Shared>, Path((subject, which)): Path<(String, String)>) -> Answer {
    let store = shared.store();
    let Version { id, number, text } = store.version(&subject, &which)?;
    Ok(Success(json!({ "subject": subject, "id": id, "version": number, "schema": text })))
}

async fn schema(State(shared): State<Shared>, Path(id): Path<u32>) -> Answer {
    Ok(Success(json!({ "schema": shared.store().schema(id)? })))
}

async fn schema_subjects(State(shared): State<Shared>, Path(id): Path<u32>) -> Answer {
    Ok(Success(shared.store().places(id)?.into_iter().map(|(subject, _)| subject).collect()))
}

async fn schema_versions(State(shared): State<Shared>, Path(id): Path<u32>) -> Answer {
    let store = shared.store();
    let places = store.places(id)?.into_iter();
    Ok(Success(places.map(|(subject, version)| json!({ "subject": subject, "version": version })).collect()))
}

async fn check(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Submitted>,
) -> Answer {
    let problems = shared.store().check(&subject, body.avro()?)?;
    Ok(Success(json!({ "is_compatible": problems.is_empty(), "messages": problems })))
}

async fn global_level(State(shared): State<Shared>) -> Answer {
    Ok(Success(json!({ "compatibilityLevel": shared.store().global_level().name() })))
}

async fn set_global_level(State(shared): State<Shared>, Json(wish): Json<Wish>) -> Answer {
    shared.store().set_global_level(Level::parse(&wish.compatibility)?);
    Ok(Success(json!({ "compatibility": wish.compatibility })))
}

async fn level(State(shared): State<Shared>, Path(subject): Path<String>) -> Answer {
    Ok(Success(json!({ "compatibilityLevel": shared.store().level(&subject)?.name() })))
}

async fn set_level(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(wish): Json<Wish>,
) -> Answer {
    shared.store().set_level(&subject, Level::parse(&wish.compatibility)?);
    Ok(Success(json!({ "compatibility": wish.compatibility })))
}

impl Submitted {
    fn avro(&self) -> Result<&str, Refusal> {
        if !matches!(self.schema_type.as_deref(), None | Some("AVRO")) || !self.references.is_empty() {
            return Err(refusal(422, 42_201, "this registry keeps Avro schemas without references only"));
        }
        Ok(&self.schema)
    }
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], Json(self.0)).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error_code": self.code, "message": self.message });
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], Json(body)).into_response()
    }
}
