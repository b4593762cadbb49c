//! The SMTP server of the configuration, and a connection to it that is ready for mails.

use std::fmt;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use percent_encoding::percent_decode_str;
use url::Url;

use super::reply::Command;
use super::{Connection, failure};
use crate::application::mailer::SendError;

/// The server of the configuration.
pub(super) struct Server {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    name: ClientId,
    /// The bound of making a connection; that of the whole delivery is its caller's.
    timeout: Duration,
}

/// Why a URL names no server. It holds a password, so none of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error(
        "it is no URL; in its password, each character other than a letter, a digit and -._~ has to be percent-encoded \
         (/ is %2F, ? is %3F, # is %23)"
    )]
    Syntax,
    #[error("it names no host")]
    NoHost,
    #[error("it is neither smtp://, with tls=required or tls=opportunistic or no tls, nor smtps://")]
    Scheme,
    #[error("its user or password is not UTF-8 in percent-encoding")]
    Credentials,
    #[error("its host has no name that a certificate could be for")]
    Host,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Server {
    /// The server of a URL: `smtp[s]://[user:password@]host[:port][/name][?tls=required|opportunistic]`.
    pub(super) fn try_new(url: &str, timeout: Duration) -> Result<Self, InvalidUrl> {
        if !redaction::is_url(url) {
            return Err(InvalidUrl::Syntax);
        }
        let url = Url::parse(url).map_err(|_| InvalidUrl::Syntax)?;
        let host = url.host_str().ok_or(InvalidUrl::NoHost)?.to_owned();
        let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let parameters = || TlsParameters::new(host.clone()).map_err(|_| InvalidUrl::Host);
        let (tls, port) = match (url.scheme(), tls.as_deref()) {
            ("smtp", None) => (Tls::None, SMTP_PORT),
            ("smtp", Some("required")) => (Tls::Required(parameters()?), SUBMISSION_PORT),
            ("smtp", Some("opportunistic")) => (Tls::Opportunistic(parameters()?), SUBMISSION_PORT),
            ("smtps", _) => (Tls::Wrapper(parameters()?), SUBMISSIONS_PORT),
            _ => return Err(InvalidUrl::Scheme),
        };
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8().map_err(|_| InvalidUrl::Credentials)?;
            Ok(decoded.into_owned())
        };
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(decode(url.username())?, decode(password)?)),
            None => None,
        };
        let name = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        let port = url.port().unwrap_or(port);
        Ok(Self { host, port, tls, credentials, name, timeout })
    }

    /// A new connection, ready for mails. Whatever is refused until then is no mail's fault.
    pub(super) async fn connect(&self) -> Result<Connection, SendError> {
        let of = |command| move |error: Error| failure(command, &error);
        let wrapped = match &self.tls {
            Tls::Wrapper(parameters) => Some(parameters.clone()),
            Tls::None | Tls::Opportunistic(_) | Tls::Required(_) => None,
        };
        let address = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &self.name, wrapped, None)
                .await
                .map_err(of(Command::Connect))?;
        match &self.tls {
            Tls::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), &self.name).await.map_err(of(Command::StartTls))?;
            }
            Tls::Required(parameters) => {
                connection.starttls(parameters.clone(), &self.name).await.map_err(of(Command::StartTls))?;
            }
            Tls::None | Tls::Opportunistic(_) | Tls::Wrapper(_) => {}
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(of(Command::Auth))?;
        }
        Ok(Connection(connection))
    }
}
