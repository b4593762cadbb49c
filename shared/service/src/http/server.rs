//! Serves connections, a bounded number at a time, until stopped; then finishes the requests in flight.

mod peers;
mod progress;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::peers::{Reserve, peer};
use self::progress::Progressing;
use super::bounds::{
    MAX_HEAD_BYTES, RESERVED_CONNECTIONS, RESERVED_HEADER_TIMEOUT, RESERVED_TIMEOUT, WRITE_TIMEOUT,
};
use super::limits::overloaded;
use crate::config::HttpConfig;
use crate::places::Places;

/// One peer has no more than one of so many parts of the connections.
const PARTS: usize = 2;

/// A pause after an error of the listener itself, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets requests in hand finish within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    config: &HttpConfig,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let places = Places::new(config.max_connections, PARTS);
    let mut reserve = Reserve::new(RESERVED_CONNECTIONS);
    let header_timeout = Duration::from_millis(config.header_timeout_ms);
    let reserved_app = app.clone().layer(middleware::from_fn(only_operations));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, address)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shutdown = shutdown.clone();
        if let Some(place) = places.take(&peer(address.ip())) {
            let app = app.clone();
            connections.spawn(async move {
                let serving = Serving { app, header_timeout, keep_alive: true };
                serving.connection(stream, shutdown).await;
                drop(place);
            });
        } else {
            let app = reserved_app.clone();
            let reserved = connections.spawn(async move {
                let serving = Serving { app, header_timeout: RESERVED_HEADER_TIMEOUT, keep_alive: false };
                let _ = tokio::time::timeout(RESERVED_TIMEOUT, serving.connection(stream, shutdown)).await;
            });
            reserve.push(reserved);
        }
    }
    // Closed here, so that no client connects to a service that no longer answers.
    drop(listener);
    let finishing = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finishing).await.is_err() {
        tracing::warn!("requests still in flight after the grace period");
    }
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}

/// Rejects what is not asked by probes and Prometheus.
async fn only_operations(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.starts_with("/health/") || path == "/metrics" {
        return next.run(request).await;
    }
    overloaded("Too many connections are open").into_response()
}

/// How a connection is served.
struct Serving {
    app: Router,
    header_timeout: Duration,
    keep_alive: bool,
}

impl Serving {
    async fn connection(self, stream: TcpStream, shutdown: CancellationToken) {
        // Small answers are sent at once.
        let _ = stream.set_nodelay(true);
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(self.keep_alive);
        let stream = TokioIo::new(Progressing::new(stream, WRITE_TIMEOUT));
        let serving = builder.serve_connection(stream, TowerToHyperService::new(self.app));
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = shutdown.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
