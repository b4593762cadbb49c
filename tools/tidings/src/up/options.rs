//! What the whole system is to run on.

use std::path::PathBuf;

use super::configuration::OtlpProtocol;
use super::ports::Ports;

/// What to run on.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The system's name, if this user runs several.
    pub name: Option<String>,
    /// A real Kafka with its registry, instead of the embedded ones.
    pub kafka: Option<RealKafka>,
    /// A PostgreSQL server's URL, instead of a private one.
    pub postgres: Option<String>,
    /// Where the private PostgreSQL keeps its files across runs.
    pub data: Option<PathBuf>,
    /// Which ports the services listen on.
    pub ports: Ports,
    /// What the topics' names begin with; `tidings` if nothing is said.
    pub topics_prefix: Option<String>,
    /// Where the services log; a directory that goes with the system if nothing is said.
    pub logs: Option<PathBuf>,
    /// A collector of the user's own, instead of the embedded receiver of traces.
    pub collector: Option<Collector>,
    /// The folder of the services' binaries; beside this program if nothing is said.
    pub binaries: Option<PathBuf>,
    /// Programs that run beside the five services.
    pub with: Vec<PathBuf>,
}

/// Where spans go, and where to ask for them.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The OTLP endpoint's URL.
    pub otlp: String,
    /// What it speaks.
    pub protocol: OtlpProtocol,
    /// Jaeger's query API, if there is one.
    pub jaeger: Option<String>,
}

/// A broker and the registry that belongs to it.
#[derive(Clone, Debug)]
pub struct RealKafka {
    /// `HOST:PORT`.
    pub bootstrap_servers: String,
    /// The registry's URL.
    pub registry: String,
}
