//! `tidings verify` as a command line: where the system is, how long to wait, what to print.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use messaging::KafkaConfig;
use tokio_util::sync::CancellationToken;

use crate::output;
use crate::state::RunningSystem;
use crate::up::StopSignals;
use crate::verify::databases::SILENCE;
use crate::verify::failures::Failures;
use crate::verify::follow::{self, TimedUpdate};
use crate::verify::{self, Target};

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The exit code when nothing is violated and something was not compared.
const UNVERIFIABLE: u8 = 3;

/// Recomputes all effects from the topics alone, and compares them with every service's database.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings verify --wait            the system that `tidings up` runs, once it is quiet
  tidings verify --format json --postgres postgres://me@127.0.0.1:5432 --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8085
  tidings verify --postgres 'postgres://verify@{service}-database-rw/tidings_{service}?sslmode=verify-full&sslrootcert={service}-ca.crt' \\
      --kafka broker:9093 --kafka-config client.properties --registry http://registry:8080/apis/ccompat/v7
                                   five servers, TLS; passwords from the file that PGPASSFILE names, and client.properties

client.properties holds librdkafka's properties, one NAME=VALUE a line, such as security.protocol=SASL_SSL, or NAME_file=PATH
for a value that stands in a file of its own.

One line a guarantee:
  G1  accepted means published: order's database and every outbox against the topics
  G2  order per key: first occurrences numbered 1, 2, 3, ... without a gap
  G3  effects once: stock, payments, the provider's ledger, mails and read models against the topics
  G4  every order has exactly one end; units and money add up
  G5  nothing dropped silently: each event processed, a dead letter, without a subscriber, or pending

  G6  contracts never break: every header and schema of every record

Ends with 0 when all hold, with 1 when one is violated, and with 3 when none is and something could not be compared.

  tidings verify --follow          goes on until Ctrl-C: says within seconds which order breaks which promise
  tidings verify --follow --format json --scrub-rate 1000
                                   one JSON object a line, and all orders again at a thousand a second

Reads PostgreSQL's primaries only: a replica may show commits in another order.")]
pub(super) struct VerifyArgs {
    /// First waits until nothing is under way; then nothing may be pending, and there may be no dead letters and no failed mails.
    #[arg(long)]
    wait: bool,
    /// Seconds that --wait waits at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// With --wait: dead letters and failed mails are listed instead of being violations.
    #[arg(long)]
    allow_dead_letters: bool,
    /// The PostgreSQL server of the five databases, or their URL with {service} for the service's name [default: the
    /// running system's]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The broker [default: the running system's]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// How to talk to it: a file of librdkafka's properties
    #[arg(long, value_name = "FILE")]
    kafka_config: Option<PathBuf>,
    /// The schema registry [default: the running system's]
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// What the topics' names begin with [default: the running system's, else tidings]
    #[arg(long, value_name = "PREFIX")]
    topics_prefix: Option<String>,
    /// How the verdicts are printed; docs/guarantees.md describes the JSON
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Goes on comparing: open orders every second, all orders again and again. Ends with 1 when a guarantee was violated.
    #[arg(long, conflicts_with_all = ["wait", "timeout", "allow_dead_letters"])]
    follow: bool,
    /// With --follow: how many orders a second are compared again
    #[arg(long, value_name = "ORDERS", default_value_t = 200, requires = "follow",
        value_parser = clap::value_parser!(u32).range(1..))]
    scrub_rate: u32,
    /// Prints what is compared with what, as docs/guarantees.md has it, and ends.
    #[arg(long)]
    list_checks: bool,
}

impl VerifyArgs {
    pub(super) async fn run(self, name: Option<&str>) -> anyhow::Result<ExitCode> {
        if self.list_checks {
            output::text(&verify::page::checks())?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.follow {
            return self.follow(name).await;
        }
        let options = verify::Options {
            wait: self.wait.then(|| Duration::from_secs(self.timeout)),
            failures: if self.wait && !self.allow_dead_letters {
                Failures::Unexpected
            } else {
                Failures::Listed
            },
        };
        let format = self.format;
        let report = verify::run(&self.target(name)?, options).await?;
        match format {
            Format::Text => output::text(&report)?,
            Format::Json => output::line(&serde_json::to_string_pretty(&report)?)?,
        }
        Ok(match (report.holds(), report.is_violated()) {
            (true, _) => ExitCode::SUCCESS,
            (false, true) => ExitCode::FAILURE,
            (false, false) => ExitCode::from(UNVERIFIABLE),
        })
    }

    async fn follow(self, name: Option<&str>) -> anyhow::Result<ExitCode> {
        let (format, options) = (self.format, follow::Options { scrub_rate: self.scrub_rate });
        let stop = CancellationToken::new();
        let mut signals = StopSignals::listen()?;
        let stopping = async {
            signals.received().await;
            stop.cancel();
            std::future::pending().await
        };
        let mut failed = Ok(());
        let output = |line: TimedUpdate| {
            let written = match format {
                Format::Text => writeln!(std::io::stdout(), "{} {}", line.at.format("%H:%M:%S"), line.update),
                Format::Json => {
                    let object = serde_json::to_string(&line).map_err(std::io::Error::from);
                    object.and_then(|object| writeln!(std::io::stdout(), "{object}"))
                }
            };
            // Whoever read this has gone.
            if written.is_err() {
                failed = written;
                stop.cancel();
            }
        };
        let target = self.target(name)?;
        let violations = tokio::select! {
            violations = follow::run(&target, options, &stop, output) => violations?,
            violations = stopping => violations,
        };
        failed.context("writing to standard output")?;
        Ok(if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn target(self, name: Option<&str>) -> anyhow::Result<Target> {
        let running = RunningSystem::find(name)?.map(|system| Target::from(&system));
        let needed = |given: Option<String>, found: fn(&Target) -> &String, option: &str| {
            given
                .or_else(|| running.as_ref().map(|target| found(target).clone()))
                .with_context(|| format!("no system runs here: where is it? Say {option}"))
        };
        let mut kafka =
            KafkaConfig::new(needed(self.kafka, |target| &target.kafka.bootstrap_servers, "--kafka")?);
        if let Some(file) = &self.kafka_config {
            kafka.properties = properties(file)?;
        }
        let source =
            || self.kafka_config.as_ref().map_or("--kafka".to_owned(), |file| file.display().to_string());
        kafka.check().with_context(source)?;
        Ok(Target {
            postgres: needed(self.postgres, |target| &target.postgres, "--postgres")?,
            kafka,
            registry: needed(self.registry, |target| &target.registry, "--registry")?,
            topics_prefix: self
                .topics_prefix
                .or_else(|| running.as_ref().map(|target| target.topics_prefix.clone()))
                .unwrap_or_else(|| "tidings".to_owned()),
            silence: SILENCE,
        })
    }
}

/// One NAME=VALUE a line; empty lines and those that begin with # say nothing. NAME_file=PATH takes the value from a file.
fn properties(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            // The line itself may hold a password.
            let (name, value) = line
                .split_once('=')
                .with_context(|| format!("{}, line {}: no NAME=VALUE", file.display(), number + 1))?;
            let (name, value) = (name.trim_end(), value.trim_start());
            Ok(match name.strip_suffix("_file") {
                Some(name) => {
                    let secret = std::fs::read_to_string(value).with_context(|| {
                        let path = redaction::path(Path::new(value));
                        format!("{}, line {}: reading {path}", file.display(), number + 1)
                    })?;
                    (name.to_owned(), secret.trim_end().to_owned())
                }
                None => (name.to_owned(), value.to_owned()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_from_a_file_and_a_wrong_line_is_named_but_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.properties");
        let password = dir.path().join("password");
        std::fs::write(&password, "a=b\n").unwrap();
        let text =
            format!("# TLS\n\nsecurity.protocol = SASL_SSL\nsasl.password_file={}\n", password.display());
        std::fs::write(&file, text).unwrap();
        let expected = [("sasl.password", "a=b"), ("security.protocol", "SASL_SSL")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(properties(&file).unwrap(), BTreeMap::from(expected));

        std::fs::write(&file, "sasl.password_file=hunter2\n").unwrap();
        let error_text = format!("{:#}", properties(&file).unwrap_err());
        assert!(error_text.contains("line 1") && !error_text.contains("hunter2"), "{error_text}");

        std::fs::write(&file, "security.protocol=SASL_SSL\nsasl.password hunter2\n").unwrap();
        let error_text = format!("{:#}", properties(&file).unwrap_err());
        assert!(
            error_text.contains("client.properties, line 2") && !error_text.contains("hunter2"),
            "{error_text}"
        );
    }
}
