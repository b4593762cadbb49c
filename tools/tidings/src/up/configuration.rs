//! The configuration file that each service is given.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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

impl Configuration {
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
