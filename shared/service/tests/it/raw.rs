//! A client that writes what it likes to a service's port, as strangers do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::stack::Process;

/// Above every time-out of the edge, below the longest `Prefer: wait`.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(service: &Process) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, service).await
    }

    /// A connection from another address of the loopback network, as of another peer.
    pub(crate) async fn connect_from(address: Ipv4Addr, service: &Process) -> Self {
        let port = service.url.rsplit(':').next().unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        // Not more than the kernel's least, so that whoever does not read is noticed soon.
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.bind((address, 0).into()).unwrap();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self(timeout(ANSWER_TIMEOUT, socket.connect(server)).await.expect("it connects").unwrap())
    }

    /// Writes this; a server that has closed the connection is seen when it is read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(ANSWER_TIMEOUT, self.0.write_all(bytes)).await;
    }

    /// Sends the head of a request that says that the connection ends with its answer.
    pub(crate) async fn request(&mut self, line: &str, headers: &str) {
        self.send(
            format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n").as_bytes(),
        )
        .await;
    }

    /// Everything until the server closes the connection, or until the time is over.
    pub(crate) async fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        let _ = timeout(ANSWER_TIMEOUT, self.0.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status of that, 0 if there is none.
    pub(crate) async fn status(&mut self) -> u16 {
        let answer = self.answer().await;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}
