//! A connection that reads the write-ahead log of one replication slot, as the server's logical decoding shows it.
//!
//! The client of all other connections has no replication protocol. Sockets and TLS are its; messages and authentication are
//! those of `postgres-protocol`; the order in which they come stands here
//! (<https://www.postgresql.org/docs/current/protocol-replication.html>).

mod login;
mod socket;

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend::{self, CopyData};
use sqlx_core::net::{BufferedSocket, Socket};
use tokio::time::timeout;

use crate::pool::Database;

/// The longest that connecting, logging in and starting may take.
const START_TIMEOUT: Duration = Duration::from_secs(12);
/// The longest message that is taken: above the largest row of PostgreSQL.
const LARGEST_MESSAGE: usize = 1 << 30;
/// The tag of CopyBothResponse.
const COPY_BOTH_TAG: u8 = b'W';
/// From PostgreSQL's epoch, the year 2000, back to that of Unix.
const EPOCH_DISTANCE: Duration = Duration::from_secs(946_684_800);

/// A position in the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// Why the log is not read any further.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The server can't be reached, or has fallen silent.
    #[error("the connection for replication: {0}")]
    Connection(#[from] std::io::Error),
    /// The connection can't be made as it is configured.
    #[error(transparent)]
    Setup(#[from] sqlx::Error),
    /// The server refuses.
    #[error("{message} (SQLSTATE {code})")]
    Server {
        /// The SQLSTATE.
        code: String,
        /// What the server says.
        message: String,
    },
    /// A message is not what the protocol allows here.
    #[error("the server has sent {0}")]
    Protocol(&'static str),
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicationMessage {
    /// A message of the output plugin.
    Data {
        /// Where in the log what it tells of begins.
        position: Lsn,
        /// As the plugin wrote it.
        message: Bytes,
    },
    /// Whatever commits before this position was sent.
    Position(Lsn),
}

/// Reads the log of a slot. Dropping it ends the session, and releases the slot.
pub struct Replication {
    socket: BufferedSocket<Box<dyn Socket>>,
}

impl Database {
    /// Reads what `publication` shows of the log, in the order of commits, from where `slot` was confirmed. Column values are in
    /// binary form. The plugin is `pgoutput`, in version 1 of its protocol.
    ///
    /// # Errors
    /// When the server can't be reached in time, or refuses.
    pub async fn replicate(&self, slot: &str, publication: &str) -> Result<Replication, ReplicationError> {
        let starting = async {
            let secrets = socket::Secrets::of(self.options());
            let mut socket = socket::open(self.options(), &secrets).await?;
            login::log_in(&mut socket, self.options(), secrets.password.as_deref()).await?;
            let start = format!(
                "START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names '{publication}', binary 'true')"
            );
            send(&mut socket, |message| frontend::query(&start, message)).await?;
            while !matches!(receive(&mut socket).await?, Received::CopyBoth) {}
            Ok(Replication { socket })
        };
        timeout(START_TIMEOUT, starting).await.unwrap_or_else(|_| Err(silent(START_TIMEOUT)))
    }
}

impl Replication {
    /// The next message; waits for as long as there is none. Cancel-safe.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn next(&mut self) -> Result<ReplicationMessage, ReplicationError> {
        loop {
            let mut data = match receive(&mut self.socket).await? {
                Received::Message(Message::CopyData(body)) => body.into_bytes(),
                Received::Message(Message::CopyDone) => {
                    return Err(ReplicationError::Protocol("the end of the log"));
                }
                _ => continue,
            };
            return match data.first() {
                Some(b'w') if data.len() >= 25 => {
                    data.advance(1);
                    let position = Lsn(data.get_u64());
                    // The end of the log, and the time.
                    data.advance(16);
                    Ok(ReplicationMessage::Data { position, message: data })
                }
                Some(b'k') if data.len() >= 9 => {
                    data.advance(1);
                    Ok(ReplicationMessage::Position(Lsn(data.get_u64())))
                }
                _ => Err(ReplicationError::Protocol("an unknown message of the log")),
            };
        }
    }

    /// Tells the server up to where the log is no longer needed, and asks for an answer, which comes as a position. It waits for
    /// nothing but room to send.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn confirm(&mut self, position: Lsn) -> Result<(), ReplicationError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = now.saturating_sub(EPOCH_DISTANCE).as_micros();
        let mut status = BytesMut::with_capacity(34);
        status.put_u8(b'r');
        for _ in ["written", "flushed", "applied"] {
            status.put_u64(position.0);
        }
        status.put_u64(u64::try_from(now).unwrap_or_default());
        status.put_u8(1);
        send(&mut self.socket, |message| {
            CopyData::new(status)?.write(message);
            Ok(())
        })
        .await
    }
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replication")
    }
}

type Stream = BufferedSocket<Box<dyn Socket>>;

/// What the server has sent.
enum Received {
    /// Both sides send data from here on.
    CopyBoth,
    Message(Message),
}

/// The next message of the server. An error of the server is one here. Cancel-safe.
async fn receive(socket: &mut Stream) -> Result<Received, ReplicationError> {
    let whole = |buffer: &mut BytesMut| {
        let Some(header) = Header::parse(buffer)? else { return Ok(ControlFlow::Continue(5)) };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > LARGEST_MESSAGE {
            return Err(sqlx::Error::Protocol(format!("a message of {length} bytes")));
        }
        if buffer.len() <= length {
            return Ok(ControlFlow::Continue(length + 1));
        }
        if header.tag() == COPY_BOTH_TAG {
            buffer.advance(length + 1);
            return Ok(ControlFlow::Break(Received::CopyBoth));
        }
        Ok(match Message::parse(buffer)? {
            Some(message) => ControlFlow::Break(Received::Message(message)),
            None => ControlFlow::Continue(buffer.len() + 1),
        })
    };
    match socket.try_read(whole).await {
        Ok(Received::Message(Message::ErrorResponse(body))) => Err(server_error(&body)),
        Ok(received) => Ok(received),
        Err(sqlx::Error::Io(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

/// Sends what is put into the buffer.
async fn send(
    socket: &mut Stream,
    put: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
) -> Result<(), ReplicationError> {
    let mut message = BytesMut::new();
    put(&mut message)?;
    socket.write(&message[..])?;
    Ok(socket.flush().await?)
}

fn server_error(body: &ErrorResponseBody) -> ReplicationError {
    let (mut code, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    ReplicationError::Server { code, message }
}

fn silent(bound: Duration) -> ReplicationError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {bound:?}")).into()
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl FromStr for Lsn {
    type Err = ReplicationError;

    fn from_str(text: &str) -> Result<Self, ReplicationError> {
        let half = |text: &str| u64::from(u32::from_str_radix(text, 16).unwrap_or_default());
        let (high, low) = text.split_once('/').ok_or(ReplicationError::Protocol("no position in the log"))?;
        Ok(Self(half(high) << 32 | half(low)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_as_the_server_writes_it() {
        for (text, position) in
            [("0/0", 0), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/1", 0xFFFF_FFFF_0000_0001)]
        {
            assert_eq!(text.parse::<Lsn>().unwrap(), Lsn(position));
            assert_eq!(Lsn(position).to_string(), text);
        }
        assert!("12".parse::<Lsn>().is_err());
    }
}
