//! The command line's shape: subcommands, options, help, and which code they end with.

mod addresses;
mod import;
mod load;
mod trace;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::state::{self, RunningSystem};
use crate::up::configuration::OtlpProtocol;
use crate::up::options::{self, Collector, RealKafka};
use crate::up::ports::Ports;
use crate::{demo, output, up};

/// Where a service listens unless something else is said.
const DEFAULT_ORDER_URL: &str = "http://127.0.0.1:8080";
const DEFAULT_INVENTORY_URL: &str = "http://127.0.0.1:8081";

/// Runs the reference system, puts real orders into it, and proves that it keeps its guarantees.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// The system's name, if you run several at once: `up` and `demo` start it under this name, all others find it by it.
    #[arg(long, global = true, value_name = "NAME", value_parser = state::name)]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(UpArgs),
    Addresses(addresses::AddressesArgs),
    Demo(DemoArgs),
    Import(import::ImportArgs),
    Load(load::LoadArgs),
    Trace(trace::TraceArgs),
    Verify(verify::VerifyArgs),
    Schemas(SchemasArgs),
}

/// Starts the system, places a few dozen orders, prints one order's timeline, and verifies the guarantees.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings demo            stays up afterwards, for you to try things
  tidings demo --exit     ends after the verdict

Ends with 0 when every kind of end was seen and all guarantees hold.")]
struct DemoArgs {
    /// Ends after the verdict.
    #[arg(long)]
    exit: bool,
    #[command(flatten)]
    parts: Parts,
}

/// The published language.
#[derive(Debug, Args)]
struct SchemasArgs {
    #[command(subcommand)]
    command: SchemasCommand,
}

#[derive(Debug, Subcommand)]
enum SchemasCommand {
    /// Checks every schema offline: names, docs, types, compatibility with all versions before it, golden bytes.
    #[command(after_help = "Example:
  tidings schemas check avro

Ends with 0 when nothing is wrong.")]
    Check {
        /// The folder of the schemas.
        #[arg(default_value = "avro")]
        dir: PathBuf,
    },
    /// Writes the golden bytes of every version that has an example event but no golden bytes yet.
    #[command(after_help = "Example:
  tidings schemas publish avro

What is published can never change again: schemas check refuses it.")]
    Publish {
        /// The folder of the schemas.
        #[arg(default_value = "avro")]
        dir: PathBuf,
    },
}

impl SchemasArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            SchemasCommand::Check { dir } => {
                let report = contracts::gate::check(&dir);
                output::line(&report)?;
                Ok(code(report.faults().next().is_none()))
            }
            SchemasCommand::Publish { dir } => {
                for file in contracts::gate::publish(&dir)? {
                    output::line(&file.display())?;
                }
                Ok(code(true))
            }
        }
    }
}

/// Starts the five services and all they need; restarts what dies; stops everything on Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings up                                            everything embedded: nothing to install but PostgreSQL
  tidings up --ports auto                               beside something that uses ports 8080 to 8084
  tidings up --ports auto --name blue                   beside another system; `tidings verify --name blue` looks at this one
  tidings up --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8085 --data ./data
  tidings up --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8085 --postgres postgres://me@127.0.0.1:5432
  tidings up --otlp http://127.0.0.1:4318 --jaeger http://127.0.0.1:16686
  tidings up --with target/debug/loyalty                a sixth service of your own

A program of --with gets a database of its own (tidings_loyalty), a log file, the next free port from 8085 on, and the
addresses of everything in its environment: TIDINGS_HTTP__LISTEN, TIDINGS_DATABASE__URL, TIDINGS_DATABASE__MAX_CONNECTIONS,
TIDINGS_KAFKA__BOOTSTRAP_SERVERS, TIDINGS_REGISTRY__URL, TIDINGS_TOPICS__PREFIX, TIDINGS_TELEMETRY__OTLP_ENDPOINT. It is ready when
GET /health/ready answers 200, started again when it ends, and stopped by SIGTERM (docs/sixth-service.md).

The embedded broker and registry forget everything when they stop, so a database that holds orders is refused with
them. --kafka needs the registry that belongs to it. The other commands find the running system by themselves.")]
struct UpArgs {
    #[command(flatten)]
    parts: Parts,
}

/// What the system runs on.
#[derive(Debug, Args)]
struct Parts {
    /// A real Kafka instead of the embedded broker.
    #[arg(long, value_name = "HOST:PORT", requires = "registry")]
    kafka: Option<String>,
    /// The Confluent-compatible schema registry that belongs to --kafka.
    #[arg(long, value_name = "URL", requires = "kafka")]
    registry: Option<String>,
    /// A PostgreSQL server instead of a private one; the databases tidings_order, ... are created if missing.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Keeps the private PostgreSQL's files across runs, in the directory `postgres` below this one.
    #[arg(long, value_name = "DIR", requires = "kafka", conflicts_with = "postgres")]
    data: Option<PathBuf>,
    /// The services' ports: 8080 to 8084, or free ones.
    #[arg(long, value_enum, default_value_t = PortsArg::Default)]
    ports: PortsArg,
    /// Where the services log [default: a directory that goes with the system]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// What the topics' names begin with.
    #[arg(long, value_name = "PREFIX", default_value = "tidings")]
    topics_prefix: String,
    /// Where the services send their traces, instead of an embedded receiver: a collector, or Jaeger.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// What --otlp speaks.
    #[arg(long, value_enum, default_value_t = OtlpProtocol::Http, requires = "otlp")]
    otlp_protocol: OtlpProtocol,
    /// The query API of the Jaeger behind --otlp, for `tidings trace`.
    #[arg(long, value_name = "URL", requires = "otlp")]
    jaeger: Option<String>,
    /// Runs this program beside the five services, as a service of its own (repeatable).
    #[arg(long, value_name = "PATH")]
    with: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PortsArg {
    /// 8080 to 8084
    Default,
    /// Free ones
    Auto,
}

impl Parts {
    fn options(self, name: Option<String>) -> options::Options {
        let parts = self;
        let kafka = parts.kafka.zip(parts.registry);
        options::Options {
            name,
            kafka: kafka.map(|(bootstrap_servers, registry)| RealKafka { bootstrap_servers, registry }),
            postgres: parts.postgres,
            data: parts.data,
            ports: match parts.ports {
                PortsArg::Default => Ports::Default,
                PortsArg::Auto => Ports::Auto,
            },
            topics_prefix: Some(parts.topics_prefix),
            logs: parts.logs,
            collector: parts.otlp.map(|otlp| Collector {
                otlp,
                protocol: parts.otlp_protocol,
                jaeger: parts.jaeger,
            }),
            binaries: None,
            with: parts.with,
        }
    }
}

impl Cli {
    /// Does what the command line says. The code is 0 only when everything asked for holds.
    ///
    /// # Errors
    /// When the command could not be carried out.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.name.as_deref();
        match self.command {
            Command::Up(args) => {
                up::run(&args.parts.options(self.name)).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Demo(args) => demo::run(&args.parts.options(self.name), args.exit).await,
            Command::Schemas(args) => args.run(),
            Command::Addresses(args) => args.run(name),
            Command::Import(args) => args.run(name).await,
            Command::Load(args) => args.run(name).await,
            Command::Trace(args) => args.run(name).await,
            Command::Verify(args) => args.run(name).await,
        }
    }
}

/// Where a service of the running system listens, else where it does unless something else is said.
fn service_url(running: Option<&RunningSystem>, service: &str, default: &str) -> String {
    running.and_then(|system| system.service(service)).unwrap_or(default).to_owned()
}

fn code(holds: bool) -> ExitCode {
    if holds { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_real_kafka_needs_its_registry_and_kept_data_need_both() {
        let kafka = ["--kafka", "k:9092", "--registry", "http://r"];
        let parse = |options: &[&str]| Cli::try_parse_from([&["tidings", "up"], options].concat()).is_ok();
        assert!(parse(&kafka));
        assert!(!parse(&kafka[..2]));
        assert!(!parse(&kafka[2..]));
        assert!(!parse(&["--data", "d"]));
        assert!(parse(&[&kafka[..], &["--data", "d"]].concat()));
        assert!(!parse(&[&kafka[..], &["--data", "d", "--postgres", "postgres://p"]].concat()));
        assert!(parse(&["--postgres", "postgres://p", "--ports", "auto"]));
    }

    #[test]
    fn a_collector_says_what_it_speaks_and_who_can_be_asked() {
        let parse = |options: &[&str]| Cli::try_parse_from([&["tidings", "up"], options].concat()).is_ok();
        assert!(parse(&["--otlp", "http://c:4317", "--otlp-protocol", "grpc", "--jaeger", "http://j"]));
        assert!(!parse(&["--otlp-protocol", "grpc"]));
        assert!(!parse(&["--jaeger", "http://j"]));
        assert!(Cli::try_parse_from(["tidings", "trace", "no-id"]).is_err());
    }

    #[test]
    fn every_command_finds_a_system_by_its_name() {
        for command in [&["up"][..], &["addresses"], &["load"], &["verify"], &["import", "f.csv"]] {
            let parse = |name| Cli::try_parse_from([&["tidings"], command, &["--name", name]].concat());
            assert_eq!(parse("blue").unwrap().name.as_deref(), Some("blue"), "{command:?}");
            assert!(parse("../blue").is_err(), "{command:?}");
        }
    }

    #[test]
    fn zero_requests_at_once_are_refused() {
        assert!(Cli::try_parse_from(["tidings", "import", "f.csv", "--concurrency", "0"]).is_err());
        assert!(Cli::try_parse_from(["tidings", "import", "f.csv", "--replenish", "0"]).is_err());
        assert!(Cli::try_parse_from(["tidings", "import", "f.csv"]).is_ok());
    }

    #[test]
    fn a_load_has_a_positive_rate() {
        let parse = |rate: &str| Cli::try_parse_from(["tidings", "load", "--rate", rate]).is_ok();
        assert!(parse("0.2") && parse("50"));
        assert!(!parse("0") && !parse("-1") && !parse("NaN") && !parse("inf") && !parse("much"));
    }
}
