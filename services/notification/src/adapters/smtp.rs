//! Mails to an SMTP server (RFC 5321), or nowhere when none is configured.

mod connection;
mod lending;
mod reply;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::application::mail::Mail;
use crate::application::mailer::{Delivery, Mailer, SendError};
use connection::Server;
use lending::Connections;
use writing::Sender;

pub use connection::InvalidUrl;
pub use writing::InvalidSender;

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
