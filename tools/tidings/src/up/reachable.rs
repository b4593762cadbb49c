//! Whether the broker and the registry that the user names can be reached: asked before anything starts on them.

use std::time::Duration;

use messaging::{Bus as _, KafkaBus, KafkaConfig};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answer, Client};

/// How long a connection may take, and how long an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why what the user named can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreachableError {
    #[error("--kafka {address}: {server:?} is not HOST:PORT")]
    Address { address: String, server: String },
    #[error(
        "--kafka {address}: no connection ({reasons}); start the broker, or name the address on which it listens"
    )]
    NoConnection { address: String, reasons: String },
    #[error(
        "--kafka {address}: what listens there does not answer as a Kafka broker within {} s ({detail}); name a PLAINTEXT listener of a \
         broker, not a port of another program",
        ANSWER_TIMEOUT.as_secs()
    )]
    NotABroker { address: String, detail: String },
    #[error(
        "--registry {url}: {detail}; start the schema registry, or name the base of its Confluent API, such as \
         http://127.0.0.1:8085 or http://127.0.0.1:8085/apis/ccompat/v7"
    )]
    Registry { url: String, detail: String },
}

/// Whether a broker answers at one of these addresses.
///
/// # Errors
/// When none does, after 13 s at most per address.
pub(super) async fn kafka(address: &str) -> Result<(), UnreachableError> {
    let mut reasons = Vec::new();
    let mut is_connected = false;
    for server in address.split(',').map(str::trim) {
        let port = server.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            let (address, server) = (redaction::text(address), redaction::text(server));
            return Err(UnreachableError::Address { address, server });
        }
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(server)).await {
            Ok(Ok(_)) => is_connected = true,
            Ok(Err(error)) => reasons.push(format!("{}: {error}", redaction::text(server))),
            Err(_) => {
                let server = redaction::text(server);
                reasons.push(format!("{server}: no answer within {} s", CONNECT_TIMEOUT.as_secs()));
            }
        }
    }
    if !is_connected {
        let (address, reasons) = (redaction::text(address), reasons.join("; "));
        return Err(UnreachableError::NoConnection { address, reasons });
    }
    let config = KafkaConfig {
        bootstrap_servers: address.to_owned(),
        client_id: "tidings-up".to_owned(),
        ..KafkaConfig::default()
    };
    let asking = async { KafkaBus::try_new(config)?.ping(ANSWER_TIMEOUT).await };
    asking.await.map_err(|error| UnreachableError::NotABroker {
        address: redaction::text(address),
        detail: error.to_string(),
    })
}

/// Whether a schema registry answers at this URL.
///
/// # Errors
/// When none does within 10 s.
pub(super) async fn registry(url: &str) -> Result<(), UnreachableError> {
    let refused = |detail: String| UnreachableError::Registry { url: redaction::text(url), detail };
    let client = Client::try_new(url).map_err(|error| refused(error.to_string()))?;
    let answer = timeout(ANSWER_TIMEOUT, client.get::<Value>("/subjects")).await;
    match answer {
        Ok(Answer::Done { body: Value::Array(_), .. }) => Ok(()),
        Ok(Answer::Done { .. }) => Err(refused("GET /subjects does not answer with a list".to_owned())),
        Ok(Answer::Rejected(why) | Answer::Unknown(why)) => Err(refused(format!("GET /subjects: {why}"))),
        Err(_) => Err(refused(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// An address on which an HTTP server answers 404 to everything, until the tasks are dropped.
    async fn http_server(tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tasks.spawn(async move { axum::serve(listener, Router::new()).await.unwrap() });
        address
    }

    /// An address on which nobody listens.
    fn nobody() -> (embedded::ports::ReservedPort, String) {
        let port = embedded::ports::ReservedPort::reserve(0).unwrap();
        let address = port.address().to_string();
        (port, address)
    }

    #[tokio::test]
    async fn an_address_without_a_listener_is_named() {
        let (_held, address) = nobody();
        for servers in [address.clone(), format!("{address},{address}")] {
            let error = kafka(&servers).await.unwrap_err().to_string();
            assert!(error.contains(&format!("--kafka {servers}: no connection ({address}: ")), "{error}");
        }
        let error = kafka("u:hunter2@broker").await.unwrap_err().to_string();
        assert!(error.contains("is not HOST:PORT") && !error.contains("hunter2"), "{error}");
        let error = registry("u:12/hunter2@registry").await.unwrap_err().to_string();
        assert!(error.contains("--registry") && !error.contains("hunter2"), "{error}");
        let error = kafka("localhost").await.unwrap_err().to_string();
        assert!(error.contains("\"localhost\" is not HOST:PORT"), "{error}");
        let error = registry(&format!("http://{address}")).await.unwrap_err().to_string();
        assert!(error.contains(&format!("--registry http://{address}: ")), "{error}");
    }

    #[tokio::test]
    async fn a_port_of_another_program_is_named() {
        let mut tasks = JoinSet::new();
        let address = http_server(&mut tasks).await;
        let error = kafka(&address).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("does not answer as a Kafka broker"), "{error}");
        let error = registry(&format!("http://{address}")).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("GET /subjects: 404"), "{error}");
    }

    #[tokio::test]
    async fn the_embedded_broker_and_registry_can_be_reached() {
        let broker = embedded::broker::EmbeddedBroker::start().unwrap();
        kafka(&broker.config().bootstrap_servers).await.unwrap();
        let server = embedded::registry::EmbeddedRegistry::start_anywhere().await.unwrap();
        registry(&server.url()).await.unwrap();
        server.stop().await;
    }
}
