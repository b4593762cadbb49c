//! A real OTLP receiver that keeps spans in memory and answers questions about them as Jaeger's query API does.
//!
//! For tests and the demo: it is bounded by a number of spans, and forgets its oldest traces to make room for new ones.

mod grpc;
mod http;
pub mod jaeger;
mod span;
mod store;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use span::{Attributes, ReceivedEvent, ReceivedSpan, SpanLink, SpanStatus};
use store::Store;

use crate::guard::guarded;

/// How many spans are kept, about a kilobyte each.
const MOST_SPANS: usize = 50_000;
/// How large one export may be.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How long a hanging receiver keeps a request at most.
const HANGS_AT_MOST: Duration = Duration::from_secs(60);
/// How long requests in flight may take when the receiver stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How exports are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// As they should be.
    Answering,
    /// Not at all, until the mood changes.
    Hanging,
    /// With "unavailable"; nothing is kept.
    Refusing,
}

/// A running receiver. Its ports close when it is dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    http: SocketAddr,
    grpc: SocketAddr,
    edge: Edge,
    servers: JoinSet<anyhow::Result<()>>,
    stop: DropGuard,
}

/// What both protocols' edges share.
#[derive(Clone, Debug)]
struct Edge {
    store: Arc<Store>,
    mood: Arc<watch::Sender<Mood>>,
    stopped: CancellationToken,
}

impl OtlpReceiver {
    /// Starts an empty receiver on free ports of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(0, 0).await
    }

    /// Starts an empty receiver on these ports of the loopback interface; port 0 takes a free one.
    ///
    /// # Errors
    /// When a port can't be bound.
    pub async fn start_on(http_port: u16, grpc_port: u16) -> anyhow::Result<Self> {
        Self::start_with(http_port, grpc_port, MOST_SPANS).await
    }

    /// Starts an empty receiver that keeps at most `most_spans`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start_small(most_spans: usize) -> anyhow::Result<Self> {
        Self::start_with(0, 0, most_spans).await
    }

    async fn start_with(http_port: u16, grpc_port: u16, most_spans: usize) -> anyhow::Result<Self> {
        let (http_listener, http) = listen(http_port).await?;
        let (grpc_listener, grpc) = listen(grpc_port).await?;
        let stopped = CancellationToken::new();
        let edge = Edge {
            store: Arc::new(Store::new(most_spans)),
            mood: Arc::new(watch::Sender::new(Mood::Answering)),
            stopped: stopped.clone(),
        };
        let mut servers = JoinSet::new();
        let serving = axum::serve(http_listener, guarded(http::routes(edge.clone())))
            .with_graceful_shutdown(stopped.clone().cancelled_owned());
        servers.spawn(async move { Ok(serving.await?) });
        let service = TraceServiceServer::new(edge.clone()).max_decoding_message_size(MOST_BYTES);
        let serving = Server::builder().add_service(service).serve_with_incoming_shutdown(
            TcpIncoming::from(grpc_listener),
            stopped.clone().cancelled_owned(),
        );
        servers.spawn(async move { Ok(serving.await?) });
        Ok(Self { http, grpc, edge, servers, stop: stopped.drop_guard() })
    }

    /// Where OTLP over HTTP goes, and where the query API is: the base URL of both.
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where OTLP over gRPC goes.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// All spans of a trace (32 hex digits) in order of their beginning. Empty when it is unknown or forgotten.
    pub fn trace(&self, trace_id: &str) -> Vec<ReceivedSpan> {
        self.edge.store.trace(trace_id).unwrap_or_default()
    }

    /// All spans that are kept, trace by trace, the oldest trace first.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.edge.store.spans()
    }

    /// How many spans are kept.
    pub fn count(&self) -> usize {
        self.edge.store.count()
    }

    /// How many spans were forgotten to make room.
    pub fn forgotten(&self) -> u64 {
        self.edge.store.forgotten()
    }

    /// From now on exports wait for an answer, as with a collector that is overloaded.
    pub fn hang(&self) {
        self.edge.mood.send_replace(Mood::Hanging);
    }

    /// From now on exports are refused, as by a collector that is not ready. Nothing is kept.
    pub fn refuse(&self) {
        self.edge.mood.send_replace(Mood::Refusing);
    }

    /// Exports are answered again, those that hang included.
    pub fn recover(&self) {
        self.edge.mood.send_replace(Mood::Answering);
    }

    /// How many exports wait for an answer at present.
    pub fn waiting(&self) -> usize {
        // Each holds one subscription while it is being admitted.
        self.edge.mood.receiver_count()
    }

    /// Answers what is in flight, then ends: afterwards its ports are free. All spans are forgotten.
    pub async fn stop(self) {
        let Self { mut servers, stop, .. } = self;
        drop(stop);
        let ended = tokio::time::timeout(STOP_GRACE, async { while servers.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!(
                "the embedded OTLP receiver had requests in flight for longer than its grace period"
            );
        }
    }
}

impl Edge {
    /// Waits while the receiver hangs. Whether the export is to be answered; if not, it is refused.
    async fn admits(&self) -> bool {
        let mut mood = self.mood.subscribe();
        let decided = mood.wait_for(|mood| *mood != Mood::Hanging);
        tokio::select! {
            decided = tokio::time::timeout(HANGS_AT_MOST, decided) => {
                matches!(decided, Ok(Ok(mood)) if *mood == Mood::Answering)
            }
            () = self.stopped.cancelled() => false,
        }
    }
}

async fn listen(port: u16) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bind = async || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    bind().await.with_context(|| format!("an OTLP receiver on port {port} of the loopback interface"))
}
