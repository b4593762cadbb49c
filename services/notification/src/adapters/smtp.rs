//! Mails to an SMTP server (RFC 5321), or nowhere when none is configured.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::application::deliver_mails::{Delivery, Mailer, SendError};
use crate::application::mail::Mail;

/// Takes mails and keeps none: what a deployment without an SMTP server has.
#[derive(Clone, Copy, Debug)]
pub struct NoTransport;

#[async_trait]
impl Mailer for NoTransport {
    async fn send(&self, _: &Mail) -> Result<Delivery, SendError> {
        Ok(Delivery::None)
    }
}

/// Sends through one SMTP server.
pub struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    /// The connections that are in use and idle.
    transport: Mutex<Arc<Transport>>,
    from: Mailbox,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer").finish_non_exhaustive()
    }
}

/// Why the mailer can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    /// Not of the form `smtp://[user:password@]host[:port]` or `smtps://...`.
    #[error("notification.smtp_url is no SMTP URL such as smtp://mail:587?tls=required")]
    Url(#[source] lettre::transport::smtp::Error),
    /// Not of the form `Name <address>`.
    #[error("notification.from is no address such as Tidings <orders@example.org>")]
    From(#[source] lettre::address::AddressError),
}

impl SmtpMailer {
    /// A mailer for the server at `url`, sending as `from`, with at most `connections` at a time.
    ///
    /// # Errors
    /// When the URL or the address is malformed.
    pub fn try_new(
        url: &str,
        from: &str,
        connections: u32,
        timeout: Duration,
    ) -> Result<Self, SmtpConfigError> {
        let builder = Transport::from_url(url)
            .map_err(SmtpConfigError::Url)?
            .timeout(Some(timeout))
            .pool_config(PoolConfig::new().max_size(connections));
        let transport = Mutex::new(Arc::new(builder.clone().build()));
        Ok(Self { builder, transport, from: from.parse().map_err(SmtpConfigError::From)? })
    }

    fn current(&self) -> MutexGuard<'_, Arc<Transport>> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, mail: &Mail) -> Result<Message, SendError> {
        let address =
            mail.recipient.email.parse().map_err(|_| SendError::Permanent("invalid address".to_owned()))?;
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(Some(mail.recipient.name.clone()), address))
            .subject(mail.subject.clone())
            .date(SystemTime::from(mail.created_at))
            .message_id(Some(mail.message_id.clone()))
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            .map_err(|_| SendError::Permanent("not a valid message".to_owned()))
    }
}

/// A mail under way. Dropped in the middle, it gives up the connections: the library would lend its own to the next mail, which
/// would take the late answer for one to itself; and the idle ones went the same way to a server that is silent.
struct UnderWay<'a> {
    mailer: &'a SmtpMailer,
    transport: Arc<Transport>,
    has_ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut current = self.mailer.current();
        if !self.has_ended && Arc::ptr_eq(&current, &self.transport) {
            *current = Arc::new(self.mailer.builder.clone().build());
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<Delivery, SendError> {
        let message = self.message(mail)?;
        let transport = Arc::clone(&self.current());
        let mut under_way = UnderWay { mailer: self, transport, has_ended: false };
        let outcome = under_way.transport.send(message).await;
        under_way.has_ended = true;
        match outcome {
            Ok(_) => Ok(Delivery::Smtp),
            Err(error) => Err(send_error(&error)),
        }
    }
}

/// The server's words may repeat the address: only its code is kept. Only a code is an answer: a connection that ends in the
/// middle may have been a proxy's, with no server behind it.
fn send_error(error: &lettre::transport::smtp::Error) -> SendError {
    match error.status() {
        Some(code) if error.is_permanent() => SendError::Permanent(format!("smtp {code}")),
        Some(code) => SendError::Transient(format!("smtp {code}")),
        // The server has answered, and lacks what the mail or the configuration needs.
        None if error.is_client() => SendError::Transient("not supported by the server".to_owned()),
        None => SendError::NoAnswer("no answer".to_owned()),
    }
}

/// The mailer that the configuration asks for.
///
/// # Errors
/// When it asks for a malformed one.
pub fn mailer(
    url: &str,
    from: &str,
    connections: u32,
    timeout: Duration,
) -> Result<Arc<dyn Mailer>, SmtpConfigError> {
    if url.is_empty() {
        tracing::info!("no SMTP server is configured: mails are recorded and go nowhere");
        return Ok(Arc::new(NoTransport));
    }
    Ok(Arc::new(SmtpMailer::try_new(url, from, connections, timeout)?))
}
