//! Refuses requests to other hosts' names, and what pages of other sites send.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contracts::http::{AllowedHosts, Refusal};

use super::Problem;

/// Hands on what the hosts admit, and everything to health and metrics: kubelet and Prometheus come by any name, and what
/// they read is nobody's.
pub(super) async fn guard(State(hosts): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.starts_with("/health/") || path == "/metrics" {
        return next.run(request).await;
    }
    match hosts.admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => problem(refusal).into_response(),
    }
}

fn problem(refusal: Refusal) -> Problem {
    let (slug, title) = match refusal {
        Refusal::InvalidHost => ("invalid-host", "The header Host is invalid"),
        Refusal::ForeignHost => ("misdirected-request", "The request is for another host"),
        Refusal::CrossOrigin => ("cross-origin-request", "The request comes from another site"),
    };
    let detail = match refusal {
        Refusal::ForeignHost => format!("{refusal}; http.allowed_hosts lists the names"),
        Refusal::InvalidHost | Refusal::CrossOrigin => refusal.to_string(),
    };
    Problem::new(refusal.status(), slug, title).detail(detail)
}
