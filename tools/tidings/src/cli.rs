//! The command line's shape: subcommands, options, help, and which code they end with.

mod load;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::state::RunningSystem;
use crate::up::configuration::OtlpProtocol;
use crate::up::ports::Ports;
use crate::up::stack::{self, Collector, RealKafka};
use crate::verify::checks::Parked;
use crate::{demo, import, up, verify};

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
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(UpArgs),
    Demo(DemoArgs),
    Import(ImportArgs),
    Load(load::LoadArgs),
    Trace(trace::TraceArgs),
    Verify(VerifyArgs),
    Schemas(SchemasArgs),
}

/// Starts the system, places a few dozen orders, tells one order's story, and verifies the guarantees.
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
                println!("{report}");
                Ok(code(report.faults().next().is_none()))
            }
            SchemasCommand::Publish { dir } => {
                for file in contracts::gate::publish(&dir)? {
                    println!("{}", file.display());
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
  tidings up --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8085 --data ./data
  tidings up --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8085 --postgres postgres://me@127.0.0.1:5432
  tidings up --otlp http://127.0.0.1:4318 --jaeger http://127.0.0.1:16686

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
    /// Keeps the private PostgreSQL's files here across runs.
    #[arg(long, value_name = "DIR", requires = "kafka", conflicts_with = "postgres")]
    data: Option<PathBuf>,
    /// The services' ports: 8080 to 8084, or free ones.
    #[arg(long, value_enum, default_value_t = PortsArg::Usual)]
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
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PortsArg {
    /// 8080 to 8084
    Usual,
    /// Free ones
    Auto,
}

impl From<Parts> for stack::Options {
    fn from(parts: Parts) -> Self {
        let kafka = parts.kafka.zip(parts.registry);
        Self {
            kafka: kafka.map(|(brokers, registry)| RealKafka { brokers, registry }),
            postgres: parts.postgres,
            data: parts.data,
            ports: match parts.ports {
                PortsArg::Usual => Ports::Usual,
                PortsArg::Auto => Ports::Auto,
            },
            topics_prefix: Some(parts.topics_prefix),
            logs: parts.logs,
            collector: parts.otlp.map(|otlp| Collector {
                otlp,
                protocol: parts.otlp_protocol,
                jaeger: parts.jaeger,
            }),
        }
    }
}

/// Recomputes all effects from the topics alone, and compares them with every service's database.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings verify --wait            the system that `tidings up` runs, once it is quiet
  tidings verify --json --postgres postgres://me@127.0.0.1:5432 --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8085

One line a guarantee:
  G1  accepted means published: order's database and every outbox against the topics
  G2  order per key: first occurrences numbered 1, 2, 3, ... without a gap
  G3  effects once: stock, payments, the provider's ledger, mails and read models against the topics
  G4  every order has exactly one end; units and money add up
  G5  nothing dropped silently: each event processed, parked, without a subscriber, or pending

Ends with 0 when all hold, with 1 when one is violated or can't be verified.")]
struct VerifyArgs {
    /// First waits until nothing is under way; then nothing may be pending or parked.
    #[arg(long)]
    wait: bool,
    /// Seconds that --wait waits at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// With --wait: parked events are listed instead of being a violation.
    #[arg(long)]
    allow_parked: bool,
    /// The PostgreSQL server of the five databases [default: the running system's]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The broker [default: the running system's]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// The schema registry [default: the running system's]
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// What the topics' names begin with [default: the running system's, else tidings]
    #[arg(long, value_name = "PREFIX")]
    topics_prefix: Option<String>,
    /// Prints the verdicts as JSON.
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let options = verify::Options {
            wait: self.wait.then(|| Duration::from_secs(self.timeout)),
            parked: if self.wait && !self.allow_parked { Parked::Unexpected } else { Parked::Listed },
        };
        let json = self.json;
        let report = verify::run(&self.target()?, options).await?;
        if json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        Ok(code(report.holds()))
    }

    fn target(self) -> anyhow::Result<verify::Target> {
        let running = RunningSystem::find()?.map(|system| verify::Target::from(&system));
        let needed = |given: Option<String>, found: Option<String>, option: &str| {
            given.or(found).with_context(|| format!("no system runs here: where is it? Say {option}"))
        };
        let of = |part: fn(&verify::Target) -> &String| running.as_ref().map(|target| part(target).clone());
        Ok(verify::Target {
            postgres: needed(self.postgres, of(|target| &target.postgres), "--postgres")?,
            kafka: needed(self.kafka, of(|target| &target.kafka), "--kafka")?,
            registry: needed(self.registry, of(|target| &target.registry), "--registry")?,
            topics_prefix: self
                .topics_prefix
                .or(of(|target| &target.topics_prefix))
                .unwrap_or_else(|| "tidings".to_owned()),
        })
    }
}

/// Places the orders of a CSV file of invoices, and waits until each has ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings import orders.csv.gz --replenish 10000000    against the system that `tidings up` runs
  tidings import orders.csv --url http://127.0.0.1:8080 --limit 100 --json
  tidings import orders.csv.gz --dry-run               which invoices are orders, and which not

The columns InvoiceNo, StockCode, Quantity, UnitPrice and CustomerID are read. Rows of one InvoiceNo are one
order, in GBP, paid with tok_visa. An invoice is rejected whole, with every reason, when it is a credit note
(C...) or an adjustment (another letter), lacks a customer, or has a row whose quantity is not positive or whose
price is not positive or not whole pence. A second run places nothing twice.

Ends with 0 when every order was accepted and has ended, with 1 otherwise.")]
struct ImportArgs {
    /// The file: .csv or .csv.gz.
    file: PathBuf,
    /// order's base URL [default: the running system's, else http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// inventory's base URL, for --replenish [default: the running system's, else http://127.0.0.1:8081]
    #[arg(long)]
    inventory_url: Option<String>,
    /// First gives every SKU of the file so many units (once: a second run with the same N adds nothing).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    replenish: Option<u64>,
    /// Requests in flight at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    concurrency: usize,
    /// Places at most the first N orders of the file.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where rejected invoices are listed with their reasons.
    #[arg(long, value_name = "FILE.csv", default_value = "rejects.csv")]
    rejects: PathBuf,
    /// Seconds to wait for the last orders to end, and for the outcome of one request.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Reads and judges the file, and places nothing.
    #[arg(long)]
    dry_run: bool,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Shows no progress.
    #[arg(long, short)]
    quiet: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

impl Cli {
    /// Does what the command line says. The code is 0 only when everything asked for holds.
    ///
    /// # Errors
    /// When the command could not be carried out.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Up(args) => {
                up::run(&args.parts.into()).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Demo(args) => demo::run(&args.parts.into(), args.exit).await,
            Command::Schemas(args) => args.run(),
            Command::Import(args) => args.run().await,
            Command::Load(args) => args.run().await,
            Command::Trace(args) => args.run().await,
            Command::Verify(args) => args.run().await,
        }
    }
}

impl ImportArgs {
    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.dry_run {
            let figures = import::dry_run(&self.file, &self.rejects)?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&figures)?);
            } else {
                print!("{figures}");
            }
            return Ok(ExitCode::SUCCESS);
        }
        let json = self.json;
        let summary = import::run(&self.into_options()?).await?;
        if json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            print!("{summary}");
        }
        Ok(code(summary.is_complete()))
    }

    fn into_options(self) -> anyhow::Result<import::Options> {
        let running = RunningSystem::find()?;
        let url = |given: Option<String>, service: &str, default: &str| {
            let running = running.as_ref().and_then(|system| system.service(service));
            given.unwrap_or_else(|| running.unwrap_or(default).to_owned())
        };
        Ok(import::Options {
            order_url: url(self.url, "order", DEFAULT_ORDER_URL),
            inventory_url: url(self.inventory_url, "inventory", DEFAULT_INVENTORY_URL),
            file: self.file,
            concurrency: self.concurrency,
            limit: self.limit,
            replenish: self.replenish,
            rejects: self.rejects,
            timeout: Duration::from_secs(self.timeout),
            quiet: self.quiet,
        })
    }
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
