//! A pooler in transaction mode, as small as it can be: one server connection, lent from message to `ReadyForQuery` in no
//! transaction.
//!
//! Source: PostgreSQL's frontend/backend protocol 3.0, message formats and flow.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct Pooler {
    pub(crate) port: u16,
    _forwarder: AbortOnDropHandle<()>,
}

/// The server connection, and the answer of the server when it was opened.
struct Server {
    stream: TcpStream,
    greeting: Vec<u8>,
}

impl Pooler {
    pub(crate) async fn start(server: (String, u16)) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        #[expect(clippy::disallowed_methods, reason = "aborted when the pooler is dropped")]
        let forwarder = tokio::spawn(async move {
            let shared: Arc<Mutex<Option<Server>>> = Arc::default();
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (shared, server) = (Arc::clone(&shared), server.clone());
                clients.spawn(async move {
                    let _ended = serve(client, &server, &shared).await;
                });
            }
        });
        Self { port, _forwarder: AbortOnDropHandle::new(forwarder) }
    }
}

async fn serve(mut client: TcpStream, at: &(String, u16), shared: &Mutex<Option<Server>>) -> io::Result<()> {
    let startup = start_up(&mut client).await?;
    let mut server = shared.lock().await;
    match &*server {
        Some(server) => client.write_all(&server.greeting).await?,
        None => {
            let mut stream = TcpStream::connect((at.0.as_str(), at.1)).await?;
            stream.write_all(&startup).await?;
            let greeting = authenticate(&mut client, &mut stream).await?;
            *server = Some(Server { stream, greeting });
        }
    }
    drop(server);
    loop {
        let first = message(&mut client).await?;
        let mut server = shared.lock().await;
        let Some(Server { stream, .. }) = &mut *server else { return Ok(()) };
        let mut next = first;
        loop {
            let ends = matches!(next[0], b'S' | b'Q');
            stream.write_all(&next).await?;
            if ends && ready(stream, &mut client).await? == b'I' {
                break;
            }
            next = message(&mut client).await?;
        }
    }
}

/// The length of a start-up message, and the message.
async fn start_up(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.resize(length as usize, 0);
    client.read_exact(&mut bytes[4..]).await?;
    Ok(bytes)
}

/// Forwards the client's answers until the server is ready; returns the answers from `AuthenticationOk` on.
async fn authenticate(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut greeting = Vec::new();
    loop {
        let answer = message(server).await?;
        client.write_all(&answer).await?;
        let authentication = answer[0] == b'R' && answer.len() >= 9;
        // Ok (0) and the end of SASL (12) ask for no answer.
        let kind = if authentication { answer[8] } else { 0 };
        if (authentication && kind == 0) || !greeting.is_empty() {
            greeting.extend_from_slice(&answer);
        }
        match answer[0] {
            b'Z' => return Ok(greeting),
            b'R' if kind != 0 && kind != 12 => server.write_all(&message(client).await?).await?,
            _ => {}
        }
    }
}

/// Forwards answers until the server is ready; returns its state.
async fn ready(server: &mut TcpStream, client: &mut TcpStream) -> io::Result<u8> {
    loop {
        let answer = message(server).await?;
        client.write_all(&answer).await?;
        if answer[0] == b'Z' {
            return Ok(answer[5]);
        }
    }
}

async fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.resize(length as usize + 1, 0);
    stream.read_exact(&mut bytes[5..]).await?;
    Ok(bytes)
}
