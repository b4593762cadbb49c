//! A gate in front of PostgreSQL: forwards one connection, and holds each request until it is let through.
//!
//! Source: PostgreSQL's frontend/backend protocol 3.0, message formats and flow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Where the client's newest request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request is under way: the client thinks.
    Away = 0,
    /// A request waits to be let through.
    AtGate = 1,
    /// The server works on it, or waits for a lock.
    Inside = 2,
}

#[derive(Debug)]
struct State {
    closed: AtomicBool,
    phase: AtomicU8,
    permits: Semaphore,
    passed: AtomicU64,
}

/// One side's gate. Open at first.
#[derive(Debug)]
pub(super) struct Gate {
    state: Arc<State>,
    port: u16,
    _forwarder: AbortOnDropHandle<()>,
}

impl Gate {
    pub(super) async fn start(database: &PgConnectOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let server = (database.get_host().to_owned(), database.get_port());
        let state = Arc::new(State {
            closed: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Away as u8),
            permits: Semaphore::new(0),
            passed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        #[expect(clippy::disallowed_methods, reason = "aborted when the gate is dropped")]
        let forwarder = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect((server.0.as_str(), server.1)).await {
                    // The pool behind the gate has one connection: the next one comes when this one has ended.
                    let _ended = forward(client, server, &shared).await;
                }
            }
        });
        Ok(Self { state, port, _forwarder: AbortOnDropHandle::new(forwarder) })
    }

    /// How to reach the database through this gate.
    pub(super) fn options(&self, database: &PgConnectOptions) -> PgConnectOptions {
        database.clone().host("127.0.0.1").port(self.port).ssl_mode(PgSslMode::Disable)
    }

    /// From now on requests wait.
    pub(super) fn close(&self) {
        self.state.permits.forget_permits(usize::MAX);
        self.state.closed.store(true, Ordering::SeqCst);
    }

    /// From now on requests pass, the one that waits first (a transaction dropped without commit rolls back late).
    pub(super) fn open(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
        if self.phase() == Phase::AtGate {
            self.state.permits.add_permits(1);
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state.phase.load(Ordering::SeqCst) {
            1 => Phase::AtGate,
            2 => Phase::Inside,
            _ => Phase::Away,
        }
    }

    /// Lets the waiting request through; returns once it is on its way.
    pub(super) async fn let_one_pass(&self) {
        let before = self.state.passed.load(Ordering::SeqCst);
        self.state.permits.add_permits(1);
        // Not "until nobody stands at the gate": the next request may already do.
        while self.state.passed.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    }
}

impl State {
    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // The start-up message has no type byte.
    let length = client.read_u32().await?;
    let mut startup = length.to_be_bytes().to_vec();
    startup.resize(length as usize, 0);
    client.read_exact(&mut startup[4..]).await?;
    server.write_all(&startup).await?;
    authenticate(&mut client, &mut server).await?;
    loop {
        let (request, executes) = request(&mut client).await?;
        let gated = executes && state.closed.load(Ordering::SeqCst);
        if gated {
            state.enter(Phase::AtGate);
            // Looked at again, because the gate may have been opened just before the request stood at it.
            if state.closed.load(Ordering::SeqCst) {
                state.permits.acquire().await.map_err(io::Error::other)?.forget();
            }
            state.enter(Phase::Inside);
            state.passed.fetch_add(1, Ordering::SeqCst);
        }
        server.write_all(&request).await?;
        let mut answer = Vec::new();
        while message(&mut server, &mut answer).await? != b'Z' {}
        if gated {
            state.enter(Phase::Away);
        }
        client.write_all(&answer).await?;
    }
}

/// Forwards both ways until the server is ready for queries.
async fn authenticate(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut answer = Vec::new();
        let kind = message(server, &mut answer).await?;
        client.write_all(&answer).await?;
        let asks = kind == b'R' && !matches!(answer[5..9], [0, 0, 0, 0] | [0, 0, 0, 12]);
        if kind == b'Z' {
            return Ok(());
        }
        if asks {
            let mut reply = Vec::new();
            message(client, &mut reply).await?;
            server.write_all(&reply).await?;
        }
    }
}

/// How a simple query begins a transaction, read committed, and sets its time-outs: it takes neither a lock nor a snapshot.
const BEGIN: &[u8] = b"BEGIN";
/// Type and length of a message.
const HEADER: usize = 5;

/// All messages up to a `Sync` or `Query`, and whether they are a step: whether they execute anything whose place among
/// the other side's statements matters.
async fn request(client: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut executes = false;
    loop {
        match message(client, &mut bytes).await? {
            b'Q' => {
                let is_step = !bytes.get(HEADER..).is_some_and(|query| query.starts_with(BEGIN));
                return Ok((bytes, is_step));
            }
            b'E' => executes = true,
            b'S' => return Ok((bytes, executes)),
            b'X' => return Err(io::ErrorKind::ConnectionAborted.into()),
            _ => {}
        }
    }
}

/// Appends one whole message to `bytes` and gives its type.
async fn message(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<u8> {
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    let start = bytes.len();
    bytes.resize(start + (length as usize).saturating_sub(4), 0);
    stream.read_exact(&mut bytes[start..]).await?;
    Ok(kind)
}
