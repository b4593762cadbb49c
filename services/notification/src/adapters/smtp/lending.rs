//! Connections that wait for the next mail. One that was left in the middle of its conversation is never lent again: the
//! late answer would be taken for one to the next mail.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use super::server::Server;
use super::writing::Written;
use crate::application::mailer::SendError;

/// A server closes idle connections after some minutes.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Connections {
    server: Server,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// How far the conversation of a lent connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conversation {
    /// An answer is due.
    Open,
    /// The mail was accepted.
    Complete,
    /// The server refused, or is gone: the connection is closed.
    Failed,
}

/// The connection of one mail.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    from: &'a Connections,
    connection: Option<Connection>,
    conversation: Conversation,
}

impl Connections {
    pub(super) const fn new(server: Server) -> Self {
        Self { server, idle: Mutex::new(Vec::new()) }
    }

    pub(super) fn lend(&self) -> Lent<'_> {
        Lent { from: self, connection: None, conversation: Conversation::Open }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that was idle for a short time only.
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        let now = Instant::now();
        idle.retain(|(_, since)| now.saturating_duration_since(*since) < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }
}

impl Lent<'_> {
    /// Sends a mail over an idle connection that still answers, or over a new one.
    pub(super) async fn send(&mut self, mail: &Written) -> Result<(), SendError> {
        let outcome = self.converse(mail).await;
        match &outcome {
            Ok(()) => self.conversation = Conversation::Complete,
            Err(_) => {
                self.conversation = Conversation::Failed;
                if let Some(connection) = self.connection.take() {
                    connection.close().await;
                }
            }
        }
        outcome
    }

    async fn converse(&mut self, mail: &Written) -> Result<(), SendError> {
        while let Some(idle) = self.from.take() {
            if self.connection.insert(idle).answers().await {
                break;
            }
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.from.server.connect().await?),
        };
        connection.send(mail).await
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        match (self.conversation, self.connection.take()) {
            (Conversation::Complete, Some(connection)) => {
                self.from.idle().push((connection, Instant::now()));
            }
            // Cut off in the middle: the idle connections lead to the server that is silent.
            (Conversation::Open, _) => self.from.idle().clear(),
            (Conversation::Complete | Conversation::Failed, _) => {}
        }
    }
}
