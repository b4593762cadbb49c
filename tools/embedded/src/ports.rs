//! Ports for programs that we start: chosen here, bound there, and reserved in between.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that the kernel gives to nobody while this lives, neither to a server that takes any port nor to a
/// client, whereas a program that knows its number may listen there, as often as it is started.
///
/// A socket that is bound and does not listen holds it: with `SO_REUSEADDR`, which servers set (tokio, PostgreSQL, Java),
/// Linux lets others bind the same address as long as none of them listens (socket(7)), but draws no port that has been
/// bound. Elsewhere the second bind would be refused, so there the port is only known to have been free.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _held: Option<TcpSocket>,
}

impl ReservedPort {
    /// Takes this port; 0 takes a free one.
    ///
    /// # Errors
    /// When another program listens there, or no port is free.
    pub fn reserve(number: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, number).into())?;
        let number = socket.local_addr()?.port();
        Ok(Self { number, _held: cfg!(target_os = "linux").then_some(socket) })
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Where a server on it is found. As long as there is none, connections are refused.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
