//! A way to a server that can fall silent: connections stay open on both sides, and nothing passes any more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Forwards connections to a server. Cheap to clone; dropping the last one closes them all.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _forwarder: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Connections with a number below this are silent.
    silent_below: watch::Sender<usize>,
    opened: AtomicUsize,
    /// Bytes forwarded, both ways.
    forwarded: AtomicUsize,
    /// Bytes that may still pass on connections that are open.
    left: AtomicUsize,
}

impl Proxy {
    /// Listens on a free port of the loopback interface, and forwards to `server` (`host:port`).
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn start(server: String) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (silent_below, silence) = watch::channel(0);
        let shared = Arc::new(Shared {
            silent_below,
            opened: AtomicUsize::new(0),
            forwarded: AtomicUsize::new(0),
            left: AtomicUsize::new(usize::MAX),
        });
        let theirs = Arc::clone(&shared);
        #[expect(clippy::disallowed_methods, reason = "aborted when the proxy is dropped")]
        let forwarder = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next() => continue,
                };
                let Ok((client, _)) = accepted else { continue };
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let number = theirs.opened.fetch_add(1, Ordering::SeqCst);
                let (silence, shared) = (silence.clone(), Arc::clone(&theirs));
                connections.spawn(async move {
                    let ((client_in, client_out), (server_in, server_out)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = forward(client_in, server_out, number, silence.clone(), &shared) => {}
                        () = forward(server_in, client_out, number, silence, &shared) => {}
                    }
                });
            }
        });
        Ok(Self { address, shared, _forwarder: Arc::new(AbortOnDropHandle::new(forwarder)) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has forwarded, ended ones included.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::SeqCst)
    }

    /// How many bytes it has forwarded, both ways together.
    pub fn forwarded(&self) -> usize {
        self.shared.forwarded.load(Ordering::SeqCst)
    }

    /// Falls silent after so many bytes more, both ways together, until it serves again.
    pub fn silence_after(&self, bytes: usize) {
        self.shared.left.store(bytes, Ordering::SeqCst);
    }

    /// From now on nothing passes on the connections that are open; new ones are served.
    pub fn silence(&self) {
        self.shared.silent_below.send_replace(self.opened());
    }

    /// From now on nothing passes on any connection, new ones included.
    pub fn silence_all(&self) {
        self.shared.silent_below.send_replace(usize::MAX);
    }

    /// New connections are served again; those that are open are silent from now on.
    pub fn serve(&self) {
        self.shared.left.store(usize::MAX, Ordering::SeqCst);
        self.shared.silent_below.send_replace(self.opened());
    }
}

/// Copies until an end of file, an error, or without end once the connection is silent.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    mut silence: watch::Receiver<usize>,
    shared: &Shared,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = until_silent(&mut silence, number) => None,
            read = from.read(&mut buffer) => Some(read),
        };
        match read {
            // Neither is the end of a silent connection passed to the other side.
            None => std::future::pending().await,
            Some(Ok(bytes @ 1..)) => {
                let allowed = take(&shared.left, bytes);
                shared.forwarded.fetch_add(allowed, Ordering::SeqCst);
                if to.write_all(&buffer[..allowed]).await.is_err() {
                    return;
                }
                if allowed < bytes {
                    std::future::pending::<()>().await;
                }
            }
            Some(_) => return,
        }
    }
}

async fn until_silent(silence: &mut watch::Receiver<usize>, number: usize) {
    if silence.wait_for(|below| number < *below).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Takes up to `wanted` of what is left.
fn take(left: &AtomicUsize, wanted: usize) -> usize {
    let mut allowed = 0;
    let _ = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        allowed = left.min(wanted);
        Some(if left == usize::MAX { left } else { left - allowed })
    });
    allowed
}
