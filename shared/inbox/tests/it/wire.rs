//! A way to PostgreSQL that counts the statements of each transaction as they are sent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards connections to a server until it is dropped.
pub(crate) struct Wire {
    port: u16,
    transactions: Arc<Mutex<Vec<usize>>>,
    _forwarder: JoinSet<()>,
}

impl Wire {
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let transactions = Arc::new(Mutex::new(Vec::new()));
        let (counts, mut forwarder) = (Arc::clone(&transactions), JoinSet::new());
        forwarder.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let counts = Arc::clone(&counts);
                connections.spawn(async move {
                    let ((from_client, mut to_client), (mut from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                        _ = count(from_client, to_server, &counts) => {}
                    }
                });
            }
        });
        Self { port, transactions, _forwarder: forwarder }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// How many statements each committed transaction had, with BEGIN and COMMIT, in their order.
    pub(crate) fn transactions(&self) -> Vec<usize> {
        self.transactions.lock().unwrap().clone()
    }
}

/// Forwards what a client sends, message by message. A message that is a statement is a query, or executes a portal.
async fn count(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    transactions: &Mutex<Vec<usize>>,
) -> std::io::Result<()> {
    // The first message has no type.
    let length = client.read_u32().await?;
    forward(&mut client, &mut server, None, length).await?;
    let mut statements = None;
    loop {
        let kind = client.read_u8().await?;
        let length = client.read_u32().await?;
        let body = forward(&mut client, &mut server, Some(kind), length).await?;
        if !matches!(kind, b'Q' | b'E') {
            continue;
        }
        let text = if kind == b'Q' { String::from_utf8_lossy(&body) } else { String::new().into() };
        if text.starts_with("BEGIN") {
            statements = Some(0);
        }
        statements.iter_mut().for_each(|count| *count += 1);
        if text.trim_end_matches('\0').ends_with("COMMIT") {
            transactions.lock().unwrap().extend(statements.take());
        }
    }
}

async fn forward(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    kind: Option<u8>,
    length: u32,
) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length as usize - 4];
    client.read_exact(&mut body).await?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(&body);
    server.write_all(&message).await?;
    Ok(body)
}
