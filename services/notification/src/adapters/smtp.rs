//! Mails to an SMTP server (RFC 5321), command by command: what an answer means depends on the command. They go nowhere
//! when no server is configured.

mod lending;
mod reply;
mod server;
mod writing;

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{self, Data, Rcpt};

use crate::application::mail::Mail;
use crate::application::mailer::{Delivery, Mailer, SendError};
use lending::Connections;
use reply::{Command, Reply};
use server::Server;
use writing::{Sender, Written};

pub use server::InvalidUrl;
pub use writing::InvalidSender;

/// How long a server may take to say goodbye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts every mail and sends none: a deployment without an SMTP server.
#[derive(Clone, Copy, Debug)]
struct NoTransport;

#[async_trait]
impl Mailer for NoTransport {
    async fn send(&self, _: &Mail) -> Result<Delivery, SendError> {
        Ok(Delivery::None)
    }
}

#[derive(Debug)]
struct SmtpMailer {
    connections: Connections,
    sender: Sender,
}

#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    #[error("notification.smtp_url is no SMTP URL such as smtp://mail:587?tls=required")]
    Url(#[source] InvalidUrl),
    #[error("notification.from is no address such as Tidings <orders@example.org>")]
    From(#[source] InvalidSender),
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<Delivery, SendError> {
        let written = self.sender.write(mail)?;
        let mut lent = self.connections.lend();
        lent.send(&written).await?;
        Ok(Delivery::Smtp)
    }
}

/// The mailer of the configuration: to the server at `url`, from `from`.
pub fn mailer(url: &str, from: &str, timeout: Duration) -> Result<Arc<dyn Mailer>, SmtpConfigError> {
    if url.is_empty() {
        tracing::info!("no SMTP server configured; mails are recorded and not sent");
        return Ok(Arc::new(NoTransport));
    }
    let server = Server::try_new(url, timeout).map_err(SmtpConfigError::Url)?;
    let sender = Sender::try_new(from).map_err(SmtpConfigError::From)?;
    Ok(Arc::new(SmtpMailer { connections: Connections::new(server), sender }))
}

/// A connection that is ready for mails.
struct Connection(AsyncSmtpConnection);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Sends a mail.
    async fn send(&mut self, mail: &Written) -> Result<(), SendError> {
        let of = |command| move |error: Error| failure(command, &error);
        let Self(connection) = self;
        let sender = commands::Mail::new(mail.envelope.from().cloned(), Vec::new());
        connection.command(sender).await.map_err(of(Command::Mail))?;
        for recipient in mail.envelope.to() {
            let recipient = Rcpt::new(recipient.clone(), Vec::new());
            connection.command(recipient).await.map_err(of(Command::Recipient))?;
        }
        connection.command(Data).await.map_err(of(Command::Data))?;
        connection.message(&mail.content).await.map_err(of(Command::Data))?;
        Ok(())
    }

    /// Whether an idle connection still works.
    async fn answers(&mut self) -> bool {
        self.0.test_connected().await
    }

    async fn close(mut self) {
        if tokio::time::timeout(QUIT_TIMEOUT, self.0.abort()).await.is_err() {
            tracing::debug!("the mail server did not answer QUIT");
        }
    }
}

/// Without a code there was no answer: a connection that ends in the middle may have been a proxy's, with no server behind
/// it.
fn failure(command: Command, error: &Error) -> SendError {
    match error.status() {
        Some(code) => {
            let text = error.source().map(ToString::to_string).unwrap_or_default();
            Reply::new(&code.to_string(), &text).failure(command)
        }
        // The server has answered, and lacks what the configuration needs.
        None if error.is_client() => SendError::Transport(format!("{command}: not supported by the server")),
        None => SendError::Transport("no answer".to_owned()),
    }
}
