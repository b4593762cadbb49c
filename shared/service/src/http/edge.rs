//! A service's whole HTTP edge: its own routes with their limits, and the routes that every service has.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use contracts::TraceContext;
use contracts::http::AllowedHosts;
use telemetry::metrics::Metrics;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, field};
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use super::attributes;
use super::body::{Bodies, read_whole};
use super::guard::guard;
use super::index::Index;
use super::limits::{Limits, limit};
use super::media_type::identity_only;
use super::methods;
use super::outlive::outlive;
use super::{Problem, description};
use crate::config::HttpConfig;
use crate::health::{self, Health};

/// A longer header of a trace is not continued: what must be handed on has at most 512 characters (W3C Trace Context, section 3.3.1.5).
const MAX_TRACE_HEADER_BYTES: usize = 512;

/// Documents the routes that every service has.
#[derive(OpenApi)]
#[openapi(
    paths(health::live, health::ready),
    components(schemas(Problem, super::Fault, health::Report, health::Component, health::State))
)]
struct CommonRoutes;

/// All routes of a service: `routes` within `config`'s limits, health, metrics, the API's documentation, and links to these at `/`. Handlers run in `tasks`,
/// which whoever ends the service waits for.
pub fn edge(
    routes: Router,
    mut openapi: utoipa::openapi::OpenApi,
    config: &HttpConfig,
    health: Health,
    metrics: Metrics,
    tasks: TaskTracker,
) -> Router {
    description::complete(&mut openapi);
    openapi.merge(CommonRoutes::openapi());
    let index = Index::new(&openapi.info);
    // The configuration is checked where it is read; of a list that is none, no name is allowed.
    let hosts = Arc::new(AllowedHosts::try_new(&config.allowed_hosts).unwrap_or_default());
    // Each tuple is one layer, the first of it outermost: a layer of a router boxes every route, and copies all boxes below it for
    // each request.
    let business = routes.layer((
        // A body that has not arrived takes no place.
        middleware::from_fn_with_state(Bodies::new(config.max_body_bytes), read_whole),
        middleware::from_fn_with_state(Limits::new(config), limit),
        middleware::from_fn_with_state(tasks, outlive),
        middleware::from_fn(identity_only),
        DefaultBodyLimit::disable(),
    ));
    // Health and metrics answer even when the business routes are full.
    let operations = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .with_state(health)
        .route("/", get(async move |headers: HeaderMap| index.answer(&headers)))
        .route("/metrics", get(async move || exposition(&metrics)));
    Router::new()
        .merge(business)
        .merge(operations)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", openapi))
        .layer((
            middleware::from_fn(observe),
            middleware::from_fn(methods::reject_unknown),
            CatchPanicLayer::custom(panicked),
            middleware::from_fn(as_problem),
            middleware::from_fn_with_state(hosts, guard),
        ))
}

fn exposition(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

fn panicked(_payload: Box<dyn Any + Send + 'static>) -> Response<Body> {
    // The panic hook has already written where and why.
    Problem::internal().into_response()
}

/// Errors that come from below the handlers (no such route, another method) are problems too.
async fn as_problem(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error
        || content_type.is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/"))
    {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::not_found(format!("no route matches {path}")),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(status, "method-not-allowed", "The method is not allowed here")
                .detail(format!("{method} {path}: see the header Allow"))
        }
        _ => Problem::new(status, "http", status.canonical_reason().unwrap_or("The request failed")),
    };
    let mut answer = problem.into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}

/// One span and two metrics a request; the span continues the caller's trace.
async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = methods::name(request.method());
    let span = tracing::info_span!(
        "http request",
        otel.name = methods::span_name(method, &route),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
        url.scheme = field::Empty,
        url.path = field::Empty,
        server.address = field::Empty,
        server.port = field::Empty,
        error.type = field::Empty,
    );
    attributes::request(&span, &request);
    telemetry::set_parent(&span, &callers_trace(request.headers()));
    let started = tokio::time::Instant::now();
    let _unanswered = Unanswered::one();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    attributes::response(&span, status);
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.as_u16().to_string())];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", &labels[..2])
        .record(started.elapsed().as_secs_f64());
    response
}

/// A request without an answer yet. A client that hangs up drops it too.
struct Unanswered;

impl Unanswered {
    fn one() -> Self {
        metrics::gauge!("http_requests_in_flight").increment(1.0);
        Self
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        metrics::gauge!("http_requests_in_flight").decrement(1.0);
    }
}

fn callers_trace(headers: &HeaderMap) -> TraceContext {
    let text = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| value.len() <= MAX_TRACE_HEADER_BYTES).map(str::to_owned)
    };
    TraceContext { traceparent: text("traceparent"), tracestate: text("tracestate") }
}
