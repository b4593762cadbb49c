//! OTLP over HTTP, and the part of Jaeger's query API that asks for traces.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde::Deserialize;

use super::jaeger::{Answer, Problem, Trace};
use super::{Edge, MOST_BYTES, span};

/// The media type of OTLP's binary form.
const PROTOBUF: &str = "application/x-protobuf";
/// The default number of traces of a search, as in Jaeger.
const DEFAULT_LIMIT: usize = 100;

/// What a search asks for.
#[derive(Debug, Deserialize)]
struct Search {
    service: Option<String>,
    /// A JSON object of strings; each must be an attribute of one and the same span.
    tags: Option<String>,
    limit: Option<usize>,
}

pub(super) fn routes(edge: Edge) -> Router {
    Router::new()
        .route("/v1/traces", post(export).layer(DefaultBodyLimit::max(MOST_BYTES)))
        .route("/api/traces", get(search))
        .route("/api/traces/{trace_id}", get(trace))
        .with_state(edge)
}

async fn export(State(edge): State<Edge>, headers: HeaderMap, body: Bytes) -> Response {
    if !edge.admits().await {
        return (StatusCode::SERVICE_UNAVAILABLE, "this receiver takes no spans at present").into_response();
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media_type != Some(PROTOBUF) || headers.contains_key(header::CONTENT_ENCODING) {
        let why = format!("this receiver reads {PROTOBUF} without content coding");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
    }
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            edge.store.keep(span::received(request));
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("no OTLP request: {error}")).into_response(),
    }
}

async fn trace(State(edge): State<Edge>, Path(trace_id): Path<String>) -> Response {
    match edge.store.trace(&trace_id) {
        Some(spans) => Json(Answer::of(vec![Trace::from_received(&spans)])).into_response(),
        None => {
            let forgotten = edge.store.forgotten();
            let words = match forgotten {
                0 => "trace not found".to_owned(),
                _ => format!("trace not found; {forgotten} older spans were forgotten to make room"),
            };
            refusal(StatusCode::NOT_FOUND, words)
        }
    }
}

async fn search(State(edge): State<Edge>, Query(search): Query<Search>) -> Response {
    let Some(service) = search.service else {
        return refusal(StatusCode::BAD_REQUEST, "parameter 'service' is required".to_owned());
    };
    let tags: BTreeMap<String, String> = match search.tags.as_deref().map(serde_json::from_str) {
        None => BTreeMap::new(),
        Some(Ok(tags)) => tags,
        Some(Err(error)) => {
            let words = format!("malformed 'tags' parameter, no JSON object of strings: {error}");
            return refusal(StatusCode::BAD_REQUEST, words);
        }
    };
    let found = edge.store.search(&service, &tags, search.limit.unwrap_or(DEFAULT_LIMIT));
    Json(Answer::of(found.iter().map(|spans| Trace::from_received(spans)).collect())).into_response()
}

fn refusal(status: StatusCode, words: String) -> Response {
    let problem = Problem { code: status.as_u16(), msg: words };
    (status, Json(Answer { data: None, errors: Some(vec![problem]) })).into_response()
}
