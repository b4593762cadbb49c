//! The port to a mail server.

use std::fmt::Debug;

use async_trait::async_trait;
use service::leases::Contact;

use super::mail::Mail;

/// Where a mail went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The SMTP server has accepted it.
    Smtp,
    /// Nowhere: no SMTP server is configured.
    None,
}

/// Why a mail was not delivered. Codes only: a server's text may hold the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection, no answer, or a server that refuses whoever asks. It says nothing about the mail, which is retried
    /// for as long as this lasts.
    #[error("{0}")]
    Transport(String),
    /// The server refuses this mail for now; a retry may help.
    #[error("transient: {0}")]
    Transient(String),
    /// The server will never accept this mail.
    #[error("permanent: {0}")]
    Permanent(String),
    /// The mail can't be sent to any server; none was asked.
    #[error("invalid: {0}")]
    Invalid(String),
}

impl SendError {
    /// Whether the server served this client.
    pub const fn contact(&self) -> Contact {
        match self {
            Self::Transport(_) => Contact::NoAnswer,
            Self::Transient(_) | Self::Permanent(_) => Contact::Answered,
            Self::Invalid(_) => Contact::NotAsked,
        }
    }
}

#[async_trait]
pub trait Mailer: Debug + Send + Sync {
    async fn send(&self, mail: &Mail) -> Result<Delivery, SendError>;
}

/// A mail and the outcome of its delivery.
#[derive(Debug)]
pub struct Sent {
    pub mail: Mail,
    pub outcome: Result<Delivery, SendError>,
}
