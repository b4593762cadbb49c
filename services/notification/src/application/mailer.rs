//! The port to a mail server.

use std::fmt::Debug;

use async_trait::async_trait;

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
    /// No connection, a time-out, a connection that ended.
    #[error("{0}")]
    NoAnswer(String),
    /// Rejected; a retry may help.
    #[error("transient: {0}")]
    Transient(String),
    /// The server, or the address itself, will never accept it.
    #[error("permanent: {0}")]
    Permanent(String),
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
