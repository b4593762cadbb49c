//! Mails to an SMTP server (RFC 5321), or nowhere when none is configured.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::application::mail::Mail;
use crate::application::mailer::{Delivery, Mailer, SendError};

/// Accepts every mail and sends none: a deployment without an SMTP server.
#[derive(Clone, Copy, Debug)]
struct NoTransport;

#[async_trait]
impl Mailer for NoTransport {
    async fn send(&self, _: &Mail) -> Result<Delivery, SendError> {
        Ok(Delivery::None)
    }
}

struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    /// The connection pool.
    transport: Mutex<Arc<Transport>>,
    from: Mailbox,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    /// The library's error is not shown: it repeats a part of the URL, which may be one of its password.
    #[error(
        "notification.smtp_url is no SMTP URL such as smtp://mail:587?tls=required; in its password, each character other than a \
         letter, a digit and -._~ has to be percent-encoded (/ is %2F, ? is %3F, # is %23)"
    )]
    Url,
    #[error("notification.from is no address such as Tidings <orders@example.org>")]
    From(#[source] lettre::address::AddressError),
}

impl SmtpMailer {
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

/// A mail in flight. Dropped in the middle of its conversation, it drops the connection pool: the library would lend its
/// connection to the next mail, which would take the late answer for its own; and the idle connections lead to the
/// server that is silent.
struct InFlight<'a> {
    mailer: &'a SmtpMailer,
    transport: Arc<Transport>,
    has_ended: bool,
}

impl Drop for InFlight<'_> {
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
        let mut in_flight = InFlight { mailer: self, transport, has_ended: false };
        let outcome = in_flight.transport.send(message).await;
        in_flight.has_ended = true;
        match outcome {
            Ok(_) => Ok(Delivery::Smtp),
            Err(error) => Err(send_error(&error)),
        }
    }
}

/// Keeps only the server's code: its text may repeat the address. Without a code there was no answer: a connection that
/// ends in the middle may have been a proxy's, with no server behind it.
fn send_error(error: &lettre::transport::smtp::Error) -> SendError {
    match error.status() {
        Some(code) if error.is_permanent() => SendError::Permanent(format!("smtp {code}")),
        Some(code) => SendError::Transient(format!("smtp {code}")),
        // The server has answered, and lacks what the mail or the configuration needs.
        None if error.is_client() => SendError::Transient("not supported by the server".to_owned()),
        None => SendError::NoAnswer("no answer".to_owned()),
    }
}

/// The mailer of the configuration: to the server at `url`, from `from`, with at most `connections` at a time.
pub fn mailer(
    url: &str,
    from: &str,
    connections: u32,
    timeout: Duration,
) -> Result<Arc<dyn Mailer>, SmtpConfigError> {
    if url.is_empty() {
        tracing::info!("no SMTP server configured; mails are recorded and not sent");
        return Ok(Arc::new(NoTransport));
    }
    let pool = PoolConfig::new().max_size(connections);
    if !redaction::is_url(url) {
        return Err(SmtpConfigError::Url);
    }
    let builder =
        Transport::from_url(url).map_err(|_| SmtpConfigError::Url)?.timeout(Some(timeout)).pool_config(pool);
    let transport = Mutex::new(Arc::new(builder.clone().build()));
    let from = from.parse().map_err(SmtpConfigError::From)?;
    Ok(Arc::new(SmtpMailer { builder, transport, from }))
}
