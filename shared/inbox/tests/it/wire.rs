//! A way to PostgreSQL that knows statements: it counts those of each transaction, holds one, and cuts a COMMIT.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use database::{Bounds, Database};
use sqlx::postgres::PgSslMode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::stack::Stack;

/// A transaction of the consumer with fewer statements is not a batch's.
const OF_A_BATCH: usize = 5;

/// Forwards connections to a server until it is dropped.
pub(crate) struct Wire {
    server: Database,
    port: u16,
    shared: Arc<Shared>,
    _forwarder: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    transactions: Mutex<Vec<usize>>,
    /// After so many bytes of it and its response the next COMMIT of a batch is cut.
    cut_after: Mutex<Option<usize>>,
    cuts: AtomicUsize,
    /// The bytes of the last COMMIT that was not cut, and of the response.
    commit: Mutex<(usize, usize)>,
    hold: Mutex<Option<Hold>>,
}

/// The statement of a transaction, by its place, that is not sent before `go`.
struct Hold {
    before: usize,
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

/// A transaction that waits before one of its statements; dropped, it goes on.
pub(crate) struct Held {
    pub(crate) reached: oneshot::Receiver<()>,
    _go: oneshot::Sender<()>,
}

impl Wire {
    /// A way to the database of this stack.
    pub(crate) async fn start(stack: &Stack) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = stack.database.database().options();
        let address = format!("{}:{}", options.get_host(), options.get_port());
        let shared = Arc::new(Shared::default());
        let (theirs, mut forwarder) = (Arc::clone(&shared), JoinSet::new());
        forwarder.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&address).await else { continue };
                let shared = Arc::clone(&theirs);
                connections.spawn(async move {
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let passed =
                        Passed { left: AtomicUsize::new(usize::MAX), responded: AtomicUsize::new(0) };
                    tokio::select! {
                        _ = respond(from_server, to_client, &passed) => {}
                        _ = request(from_client, to_server, &passed, &shared) => {}
                    }
                });
            }
        });
        Self { server: stack.database.database().clone(), port, shared, _forwarder: forwarder }
    }

    /// The database by this way.
    pub(crate) fn database(&self) -> Database {
        let options =
            self.server.options().clone().host("127.0.0.1").port(self.port).ssl_mode(PgSslMode::Disable);
        let bounds = Bounds { work: Duration::from_secs(12), request: Duration::from_secs(6) };
        Database::new(options, 10, bounds)
    }

    /// How many statements each committed transaction had, with BEGIN and COMMIT, in their order.
    pub(crate) fn transactions(&self) -> Vec<usize> {
        self.shared.transactions.lock().unwrap().clone()
    }

    /// Cuts the connection of the next batch after so many bytes of its COMMIT and of the response.
    pub(crate) fn cut_commit_after(&self, bytes: usize) {
        *self.shared.cut_after.lock().unwrap() = Some(bytes);
    }

    /// The bytes of COMMIT and of the response to it.
    pub(crate) fn commit(&self) -> (usize, usize) {
        *self.shared.commit.lock().unwrap()
    }

    /// How many were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Holds the next transaction before a statement of it: 0 is BEGIN.
    pub(crate) fn hold_before(&self, statement: usize) -> Held {
        let ((reaches, reached), (go, goes)) = (oneshot::channel(), oneshot::channel());
        *self.shared.hold.lock().unwrap() = Some(Hold { before: statement, reached: reaches, go: goes });
        Held { reached, _go: go }
    }
}

/// The bytes of a connection that go to the client.
struct Passed {
    /// So many may still pass.
    left: AtomicUsize,
    /// So many have passed since the last COMMIT.
    responded: AtomicUsize,
}

/// A message of the protocol, as it is sent.
struct Message {
    kind: Option<u8>,
    bytes: Vec<u8>,
}

impl Message {
    /// The first message has no type.
    async fn read(from: &mut OwnedReadHalf, has_kind: bool) -> std::io::Result<Self> {
        let kind = if has_kind { Some(from.read_u8().await?) } else { None };
        let length = from.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await?;
        let mut bytes: Vec<u8> = kind.into_iter().collect();
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Ok(Self { kind, bytes })
    }

    /// Its text, if it is a simple query.
    fn query(&self) -> String {
        match self.kind {
            Some(b'Q') => String::from_utf8_lossy(&self.bytes[5..]).trim_end_matches('\0').to_owned(),
            _ => String::new(),
        }
    }
}

/// Forwards what a client sends. A message that is a statement is a query, or executes a portal.
async fn request(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    passed: &Passed,
    shared: &Shared,
) -> std::io::Result<()> {
    server.write_all(&Message::read(&mut client, false).await?.bytes).await?;
    // Those of the transaction that is open, and whether the next message begins another one.
    let (mut statements, mut is_between, mut committed) = (None, false, None);
    loop {
        let message = Message::read(&mut client, true).await?;
        if let Some(request) = committed.take() {
            *shared.commit.lock().unwrap() = (request, passed.responded.load(Ordering::SeqCst));
        }
        if is_between && message.kind != Some(b'S') {
            is_between = false;
            hold(shared, statements).await;
        }
        let query = message.query();
        if query.starts_with("BEGIN") {
            statements = Some(0);
        }
        if matches!(message.kind, Some(b'Q' | b'E')) {
            statements.iter_mut().for_each(|count| *count += 1);
            is_between = true;
        }
        let Some(count) = statements.filter(|_| query.ends_with("COMMIT")) else {
            server.write_all(&message.bytes).await?;
            continue;
        };
        statements = None;
        let cut = if count > OF_A_BATCH { shared.cut_after.lock().unwrap().take() } else { None };
        if let Some(bytes) = cut {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            if bytes < message.bytes.len() {
                return server.write_all(&message.bytes[..bytes]).await;
            }
            passed.left.store(bytes - message.bytes.len(), Ordering::SeqCst);
        }
        passed.responded.store(0, Ordering::SeqCst);
        committed = Some(message.bytes.len());
        shared.transactions.lock().unwrap().push(count);
        server.write_all(&message.bytes).await?;
    }
}

async fn hold(shared: &Shared, statements: Option<usize>) {
    let hold = shared.hold.lock().unwrap().take_if(|hold| Some(hold.before) == statements);
    if let Some(Hold { reached, go, .. }) = hold {
        let _ = reached.send(());
        drop(go.await);
    }
}

/// Forwards what a server sends, and ends once no more may pass: the server has sent what follows.
async fn respond(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    passed: &Passed,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = server.read(&mut buffer).await?;
        let left = passed.left.load(Ordering::SeqCst);
        let allowed = read.min(left);
        // Before the client can send what comes next.
        passed.responded.fetch_add(allowed, Ordering::SeqCst);
        client.write_all(&buffer[..allowed]).await?;
        if left != usize::MAX {
            passed.left.store(left - allowed, Ordering::SeqCst);
        }
        if read == 0 || allowed < read {
            return Ok(());
        }
    }
}
