//! An in-memory schema registry that speaks the part of the Confluent API that the system uses.
//!
//! For tests and the demo: it forgets everything when it stops, and with it what the ids in all records mean.

mod api;
mod store;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::guard::guarded;

/// How long requests in flight may take when the registry stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running registry; stops when dropped.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinSet<io::Result<()>>,
}

impl EmbeddedRegistry {
    /// Starts an empty registry on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        let stopped = stop.clone().cancelled_owned();
        server.spawn(async move {
            axum::serve(listener, guarded(api::routes())).with_graceful_shutdown(stopped).await
        });
        Ok(Self { address, stop, server })
    }

    /// Starts an empty registry on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start_anywhere() -> io::Result<Self> {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers what is in flight, then ends. All schemas are forgotten.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, self.server.join_next()).await.is_err() {
            tracing::warn!("the embedded registry had requests in flight for longer than its grace period");
        }
    }
}
