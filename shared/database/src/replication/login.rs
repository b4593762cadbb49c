//! The start of a session for replication, and whose it is.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use sqlx::postgres::PgConnectOptions;

use super::{Received, ReplicationError, Stream, receive, send};

/// Starts the session, and waits until the server is ready for a command.
pub(super) async fn log_in(
    socket: &mut Stream,
    options: &PgConnectOptions,
    password: Option<&str>,
) -> Result<(), ReplicationError> {
    let user = options.get_username();
    let parameters = [
        ("user", user),
        ("database", options.get_database().unwrap_or(user)),
        ("replication", "database"),
        ("client_encoding", "UTF8"),
        ("application_name", options.get_application_name().unwrap_or_default()),
    ];
    send(socket, |message| frontend::startup_message(parameters, message)).await?;
    let password = password.unwrap_or_default().as_bytes();
    let mut scram: Option<ScramSha256> = None;
    loop {
        let Received::Message(message) = receive(socket).await? else { continue };
        match message {
            Message::ReadyForQuery(_) => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                send(socket, |message| frontend::password_message(password, message)).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(user.as_bytes(), password, body.salt());
                send(socket, |message| frontend::password_message(hash.as_bytes(), message)).await?;
            }
            Message::AuthenticationSasl(body)
                if body.mechanisms().any(|name| Ok(name == SCRAM_SHA_256))? =>
            {
                let begun = scram.insert(ScramSha256::new(password, ChannelBinding::unsupported()));
                let first = begun.message();
                send(socket, |message| frontend::sasl_initial_response(SCRAM_SHA_256, first, message))
                    .await?;
            }
            Message::AuthenticationSaslContinue(body) => {
                let scram = scram.as_mut().ok_or(ReplicationError::Protocol("an answer to no question"))?;
                scram.update(body.data())?;
                send(socket, |message| frontend::sasl_response(scram.message(), message)).await?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let scram = scram.as_mut().ok_or(ReplicationError::Protocol("an answer to no question"))?;
                scram.finish(body.data())?;
            }
            Message::AuthenticationGss
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationSasl(_)
            | Message::AuthenticationScmCredential
            | Message::AuthenticationSspi => {
                return Err(ReplicationError::Protocol("a demand for another kind of authentication"));
            }
            _ => {}
        }
    }
}
