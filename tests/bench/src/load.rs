//! A load generator: connections that stay open, each with one request at a time (HTTP/1.1).

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tidings::client::OrderView;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::latencies::Latencies;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longer than a service's own limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A request to place an order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) body: String,
}

/// Makes the order of a number.
pub(crate) type Orders = Arc<dyn Fn(u64) -> Order + Send + Sync>;

/// How orders are sent.
#[derive(Clone)]
pub(crate) struct Load {
    /// Of the replicas, over which the connections are spread.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) connections: usize,
    /// Orders a second; as many as are answered if nothing is said.
    pub(crate) rate: Option<f64>,
    /// `Prefer: wait` of so many seconds: an answer that does not show the order's end is an error.
    pub(crate) wait_seconds: Option<u64>,
    /// Ends after so many orders.
    pub(crate) count: u64,
    /// Ends after so long.
    pub(crate) duration: Duration,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub(crate) took: Duration,
    pub(crate) latencies: Latencies,
}

impl Placed {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.took.as_secs_f64().max(0.001)
    }
}

impl Load {
    /// Sends orders until the count or the time is over.
    ///
    /// # Errors
    /// When an order is not accepted: a load that is refused measures something else.
    pub(crate) async fn run(&self, orders: &Orders) -> anyhow::Result<Placed> {
        let started = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for address in self.addresses.iter().cycle().take(self.connections) {
            let sender =
                Sender { connection: Connection::open(*address).await?, load: self.clone(), started };
            senders.spawn(sender.run(Arc::clone(&next), Arc::clone(orders)));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = senders.join_next().await {
            latencies.append(&mut ended??);
        }
        Ok(Placed { took: started.elapsed(), latencies: Latencies::new(latencies) })
    }
}

struct Sender {
    connection: Connection,
    load: Load,
    started: Instant,
}

impl Sender {
    async fn run(mut self, next: Arc<AtomicU64>, orders: Orders) -> anyhow::Result<Vec<u64>> {
        let mut latencies = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let due = self.load.rate.map(|rate| self.started + Duration::from_secs_f64(number as f64 / rate));
            let is_late = due.is_some_and(|due| due >= self.started + self.load.duration);
            if number >= self.load.count || is_late || self.started.elapsed() >= self.load.duration {
                return Ok(latencies);
            }
            let from = self.wait(due).await;
            let order = orders(number);
            self.connection.place_and_wait(&order, self.load.wait_seconds).await?;
            latencies.push(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Where the latency of a request begins. A connection that is free waits until the request is due, and what the timer adds
    /// to that is not the server's; one that is not free lets the request wait, which counts.
    async fn wait(&self, due: Option<Instant>) -> Instant {
        match due {
            Some(due) if due > Instant::now() => {
                sleep_until(due).await;
                Instant::now()
            }
            Some(due) => due,
            None => Instant::now(),
        }
    }
}

/// A connection that stays open.
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<String>,
    _io: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut io = JoinSet::new();
        io.spawn(async {
            // Its end is seen by the request that finds it closed.
            let _ = connection.await;
        });
        Ok(Self { address, sender, _io: io })
    }

    /// Places an order; gives the answer's body.
    pub(crate) async fn place(&mut self, order: &Order) -> anyhow::Result<Vec<u8>> {
        self.place_and_wait(order, None).await
    }

    async fn place_and_wait(&mut self, order: &Order, wait_seconds: Option<u64>) -> anyhow::Result<Vec<u8>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/orders")
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, &order.key);
        if let Some(seconds) = wait_seconds {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let (status, body) = self.send(request.body(order.body.clone())?).await?;
        if !status.is_success() {
            bail!("the order {} was answered {status}: {}", order.key, String::from_utf8_lossy(&body));
        }
        if wait_seconds.is_some() {
            let answer: OrderView = serde_json::from_slice(&body).context("the answer to an order")?;
            anyhow::ensure!(answer.ended_at.is_some(), "the answer to {} came before its end", order.key);
        }
        Ok(body)
    }

    /// Posts nothing to `path`.
    ///
    /// # Errors
    /// When it is not answered with 2xx.
    pub(crate) async fn post(&mut self, path: &str) -> anyhow::Result<()> {
        let request =
            Request::builder().method(Method::POST).uri(path).header(HOST, self.address.to_string());
        let (status, body) = self.send(request.body(String::new())?).await?;
        anyhow::ensure!(
            status.is_success(),
            "{path} was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Opens a stream of server-sent events at `path`, which the connection then carries alone.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub(crate) async fn stream(&mut self, path: &str) -> anyhow::Result<Incoming> {
        let request = Request::builder().uri(path).header(HOST, self.address.to_string());
        let request = request.header(ACCEPT, "text/event-stream").body(String::new())?;
        self.sender.ready().await?;
        let answered = timeout(ANSWER_TIMEOUT, self.sender.send_request(request)).await;
        let response = answered.with_context(|| format!("no answer from {}", self.address))??;
        anyhow::ensure!(response.status() == StatusCode::OK, "{path} was answered {}", response.status());
        Ok(response.into_body())
    }

    /// Gets `path`; none unless it is answered with 2xx.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let request =
            Request::builder().uri(path).header(HOST, self.address.to_string()).body(String::new())?;
        let (status, body) = self.send(request).await?;
        Ok(status.is_success().then_some(body))
    }

    async fn send(&mut self, request: Request<String>) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let answered = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            anyhow::Ok((status, read(response).await?))
        };
        timeout(ANSWER_TIMEOUT, answered).await.with_context(|| format!("no answer from {}", self.address))?
    }
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Vec<u8>> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = next_data(&mut body).await? {
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The next bytes of a body; none at its end.
pub(crate) async fn next_data(body: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
