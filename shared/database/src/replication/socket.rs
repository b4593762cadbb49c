//! The way to the server: a socket, with TLS where `sslmode` asks for it, by the rules and the code of all other connections.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use percent_encoding::percent_decode_str;
use postgres_protocol::message::frontend;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx_core::net::tls::{self, CertificateInput, TlsConfig};
use sqlx_core::net::{BufferedSocket, Socket, SocketIntoBox, WithSocket, connect_tcp, connect_uds};
use tokio::time::timeout;

use crate::connect::too_late;

/// The longest that it may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the options don't show but in a URL.
pub(super) struct Secrets {
    pub(super) password: Option<String>,
    root: Option<CertificateInput>,
    certificate: Option<CertificateInput>,
    key: Option<CertificateInput>,
}

impl Secrets {
    pub(super) fn of(options: &PgConnectOptions) -> Self {
        let url = options.to_url_lossy();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parameter = |name: &str| {
            let (_, value) = url.query_pairs().find(|(found, _)| found == name)?;
            // Written so for people to read.
            Some(CertificateInput::from(value.strip_prefix("file: ").unwrap_or(&value).to_owned()))
        };
        Self {
            password: url.password().map(decoded),
            root: parameter("sslrootcert"),
            certificate: parameter("sslcert"),
            key: parameter("sslkey"),
        }
    }
}

/// Connects, and encrypts the way.
pub(super) async fn open(
    options: &PgConnectOptions,
    secrets: &Secrets,
) -> Result<BufferedSocket<Box<dyn Socket>>, sqlx::Error> {
    let connecting = connect(options, secrets);
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(too_late(CONNECT_TIMEOUT)))
}

async fn connect(
    options: &PgConnectOptions,
    secrets: &Secrets,
) -> Result<BufferedSocket<Box<dyn Socket>>, sqlx::Error> {
    let (host, port) = (options.get_host(), options.get_port());
    let encrypted = Encrypted { host, mode: options.get_ssl_mode(), secrets };
    let socket = match options.get_socket() {
        Some(folder) => connect_uds(folder.join(format!(".s.PGSQL.{port}")), encrypted).await??,
        None => connect_tcp(host, port, encrypted).await??,
    };
    Ok(BufferedSocket::new(socket))
}

/// A socket becomes one with TLS, if that is wanted and the server takes it.
struct Encrypted<'a> {
    host: &'a str,
    mode: PgSslMode,
    secrets: &'a Secrets,
}

impl WithSocket for Encrypted<'_> {
    type Output = Result<Box<dyn Socket>, sqlx::Error>;

    async fn with_socket<S: Socket>(self, socket: S) -> Self::Output {
        encrypt(socket, self.host, self.mode, self.secrets).await
    }
}

async fn encrypt<S: Socket>(
    mut socket: S,
    host: &str,
    mode: PgSslMode,
    secrets: &Secrets,
) -> Result<Box<dyn Socket>, sqlx::Error> {
    match mode {
        PgSslMode::Disable | PgSslMode::Allow => return Ok(Box::new(socket)),
        PgSslMode::Prefer => {
            if !ask(&mut socket).await? {
                return Ok(Box::new(socket));
            }
        }
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => {
            if !ask(&mut socket).await? {
                return Err(sqlx::Error::Tls("server does not support TLS".into()));
            }
        }
    }
    let config = TlsConfig {
        accept_invalid_certs: !matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull),
        accept_invalid_hostnames: !matches!(mode, PgSslMode::VerifyFull),
        hostname: host,
        root_cert_path: secrets.root.as_ref(),
        client_cert_path: secrets.certificate.as_ref(),
        client_key_path: secrets.key.as_ref(),
    };
    tls::handshake(socket, config, SocketIntoBox).await
}

/// Whether the server takes TLS.
async fn ask(socket: &mut impl Socket) -> Result<bool, sqlx::Error> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    while request.has_remaining() {
        let sent = socket.write(&request).await?;
        request.advance(sent);
    }
    let mut answer = [0];
    socket.read(&mut &mut answer[..]).await?;
    match answer {
        [b'S'] => Ok(true),
        [b'N'] => Ok(false),
        _ => Err(sqlx::Error::Protocol("no answer to the request for TLS".to_owned())),
    }
}
