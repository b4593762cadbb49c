//! The configuration of each service: a file for the five, environment variables for a program beside them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// A service's configuration, as far as `up` decides it.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    pub(super) http: Http,
    pub(super) database: Database,
    pub(super) kafka: Kafka,
    pub(super) registry: Registry,
    pub(super) topics: Topics,
    pub(super) telemetry: Telemetry,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payment: Option<Payment>,
}

/// What payment alone has.
#[derive(Debug, Serialize)]
pub(super) struct Payment {
    pub(super) provider_max_connections: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Http {
    pub(super) listen: String,
}

#[derive(Serialize)]
pub(super) struct Database {
    pub(super) url: String,
    pub(super) max_connections: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Kafka {
    pub(super) bootstrap_servers: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fetch_wait_max_ms: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Registry {
    pub(super) url: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Topics {
    pub(super) prefix: String,
}

/// Where a service sends its spans.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Telemetry {
    pub(super) otlp_endpoint: String,
    pub(super) otlp_protocol: OtlpProtocol,
}

/// What a collector speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// Protobuf over HTTP
    #[default]
    Http,
    /// gRPC
    Grpc,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("url", &super::databases::without_password(&self.url))
            .field("max_connections", &self.max_connections)
            .finish()
    }
}

/// How a program gets its configuration.
pub enum Settings {
    /// By `--config FILE`.
    File(PathBuf),
    /// By variables, `TIDINGS_<SECTION>__<KEY>`: any program can read those.
    Environment(Vec<(String, String)>),
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Environment(variables) => {
                f.debug_set().entries(variables.iter().map(|(name, _)| name)).finish()
            }
        }
    }
}

impl Configuration {
    /// The same as environment variables.
    pub(super) fn variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut variables = Vec::new();
        for (section, settings) in toml::Table::try_from(self)? {
            for (key, value) in settings.as_table().into_iter().flatten() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                variables.push((format!("TIDINGS_{section}__{key}").to_ascii_uppercase(), text));
            }
        }
        Ok(variables)
    }

    /// Writes it for its owner's eyes only: it holds the database's password.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let write = || -> anyhow::Result<()> {
            let text = toml::to_string(self)?;
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            Ok(file.write_all(text.as_bytes())?)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> Configuration {
        Configuration {
            http: Http { listen: "127.0.0.1:8085".to_owned() },
            database: Database {
                url: "postgres://me:hunter2@127.0.0.1/tidings_x".to_owned(),
                max_connections: 7,
            },
            kafka: Kafka { bootstrap_servers: "127.0.0.1:9092".to_owned(), fetch_wait_max_ms: None },
            registry: Registry { url: "http://127.0.0.1:9".to_owned() },
            topics: Topics { prefix: "tidings".to_owned() },
            telemetry: Telemetry {
                otlp_endpoint: "http://127.0.0.1:4318".to_owned(),
                otlp_protocol: OtlpProtocol::Http,
            },
            payment: None,
        }
    }

    #[test]
    fn each_setting_is_a_variable_of_the_same_name_and_value() {
        let variables = configuration().variables().unwrap();
        let pairs: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("TIDINGS_DATABASE__MAX_CONNECTIONS", "7"),
                ("TIDINGS_DATABASE__URL", "postgres://me:hunter2@127.0.0.1/tidings_x"),
                ("TIDINGS_HTTP__LISTEN", "127.0.0.1:8085"),
                ("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
                ("TIDINGS_REGISTRY__URL", "http://127.0.0.1:9"),
                ("TIDINGS_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:4318"),
                ("TIDINGS_TELEMETRY__OTLP_PROTOCOL", "http"),
                ("TIDINGS_TOPICS__PREFIX", "tidings"),
            ]
        );
        let shown = format!("{:?}", Settings::Environment(variables));
        assert!(shown.contains("TIDINGS_DATABASE__URL") && !shown.contains("hunter2"), "{shown}");
    }
}
