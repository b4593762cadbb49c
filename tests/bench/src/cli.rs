//! The command line: which rows, and where the results go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::SecondsFormat;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use tidings::output;
use tidings::up::options::RealKafka;
use tidings::up::{StopSignals, to_terminal};
use tokio::time::Instant;

use crate::curves::{CURVES, Curve};
use crate::kafka::Kafka;
use crate::machine::Beginning;
use crate::report::{Report, Varied};
use crate::rows::{Row, Setting};
use crate::servers::Servers;
use crate::{pages, plot};

/// Where the results go that are kept.
const KEPT: &str = "docs/benchmarks";

/// Measures what the system costs, beside what its parts cost, on real components in one run.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "Examples:
  make bench                                      all rows: about 15 minutes
  make bench ARGS='--only accept --only idle'     two of them
  make bench ARGS=--list                          what there is
  make bench-curves ARGS='--only curve-inbox --up-to 1000000'   one curve, without its largest values
  make bench-price                                what each mechanism of the guarantees costs
  make bench ARGS=--quick                         seconds for each: whether it runs, not how fast
  make bench ARGS=--pages                         tables and pictures anew from docs/benchmarks/*.json
  make bench ARGS='--orders FILE.csv.gz'          real orders for the row `whole`, in the form of `tidings import --help`

Prints a table for each row, and writes NAME.json, NAME.svg and README.md to docs/benchmarks (with --quick to target/benchmarks), and
the headline of docs/benchmarks to README.md.
Ends with 0 when everything was measured, also where a goal was missed. Ctrl-C stops every server that it started."
)]
pub struct Cli {
    /// Runs this row or curve only (repeatable).
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,
    /// Runs the curves instead of the rows: hours.
    #[arg(long)]
    curves: bool,
    /// Lists rows and curves.
    #[arg(long)]
    list: bool,
    /// Writes pictures and page anew from the results that are there, and measures nothing.
    #[arg(long)]
    pages: bool,
    /// Leaves out the points of curves above this value: 10,000,000 rows take 20 GB of disk.
    #[arg(long, value_name = "VALUE")]
    up_to: Option<u64>,
    /// Takes seconds for each row.
    #[arg(long)]
    quick: bool,
    /// Where the results go [default: docs/benchmarks, with --quick target/benchmarks]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A file of real orders, .csv or .csv.gz; made ones of the same size without it.
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,
    /// The folder of the services' binaries [default: that of this program]
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Apache Kafka on this machine, HOST:PORT.
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_TEST_KAFKA", hide_env_values = true)]
    kafka: Option<String>,
    /// The schema registry that belongs to it.
    #[arg(long, value_name = "URL", env = "TIDINGS_TEST_REGISTRY", hide_env_values = true)]
    registry: Option<String>,
}

impl Cli {
    /// Runs what was asked for, until it is done or a signal comes.
    ///
    /// # Errors
    /// When something is missing, or a row can't be measured.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if self.list {
            let print = to_terminal();
            for subject in Subject::all() {
                print(format!("{:<15} {}", subject.name(), subject.measures()));
            }
            return Ok(ExitCode::SUCCESS);
        }
        if self.pages {
            let out = self.out()?;
            for report in Report::read_all(&out)? {
                plot::draw(&report, &out)?;
            }
            write_pages(&out)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut stop = StopSignals::listen()?;
        // What is dropped here takes its processes along.
        tokio::select! {
            measured = self.measure() => measured.map(|()| ExitCode::SUCCESS),
            () = stop.received() => Ok(ExitCode::from(130)),
        }
    }

    async fn measure(&self) -> anyhow::Result<()> {
        let out = self.out()?;
        let setting = self.setting(&out)?;
        let beginning = Beginning::look(&root()?);
        for subject in self.subjects() {
            output::diagnostic(&format!("{}: {}", subject.name(), subject.measures()));
            let report = self.report(subject, &setting, &beginning).await?;
            to_terminal()(format!("\n{}\n\n{}", report.name, report.table()));
            report.write(&out)?;
            plot::draw(&report, &out)?;
            write_pages(&out)?;
        }
        output::diagnostic(&format!("written to {}", out.display()));
        Ok(())
    }

    /// Where the results go.
    fn out(&self) -> anyhow::Result<PathBuf> {
        let default = if self.quick { "target/benchmarks" } else { KEPT };
        let out = self.out.clone().map_or_else(|| root().map(|root| root.join(default)), Ok)?;
        fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        Ok(out)
    }

    fn subjects(&self) -> Vec<Subject> {
        let is_default = |subject: &Subject| match subject {
            Subject::Row(row) => !self.curves && !row.is_by_name_only(),
            Subject::Curve(_) => self.curves,
        };
        let is_named = |subject: &Subject| self.only.iter().any(|name| name == subject.name());
        let all = Subject::all().into_iter();
        if self.only.is_empty() { all.filter(is_default).collect() } else { all.filter(is_named).collect() }
    }

    async fn report(
        &self,
        subject: Subject,
        setting: &Setting,
        beginning: &Beginning,
    ) -> anyhow::Result<Report> {
        let (started, name) = (Instant::now(), subject.name());
        let servers = Servers::start(&setting.kafka, &setting.binaries).await?;
        let mut report = Report {
            name: name.to_owned(),
            measures: subject.measures().to_owned(),
            beside: subject.beside().to_owned(),
            quick: self.quick,
            measured_at: contracts::clock::now().to_rfc3339_opts(SecondsFormat::Secs, true),
            machine: servers.machine(beginning).await?,
            ..Report::default()
        };
        match subject {
            Subject::Row(row) => {
                let measured = row.run(setting, &servers).await.with_context(|| format!("the row {name}"))?;
                (report.figures, report.notes) = (measured.figures, measured.notes);
            }
            Subject::Curve(curve) => {
                drop(servers);
                let mut points = Vec::new();
                for at in curve.values(self.quick, self.up_to) {
                    points.push(curve.point(setting, at).await.with_context(|| format!("{name} at {at}"))?);
                }
                report.figures.extend(curve.kept(&points));
                report.varied = Some(Varied { parameter: curve.parameter.to_owned(), points });
            }
        }
        report.took_seconds = started.elapsed().as_secs_f64().round();
        Ok(report)
    }

    fn setting(&self, out: &Path) -> anyhow::Result<Setting> {
        let (Some(bootstrap_servers), Some(registry)) = (self.kafka.clone(), self.registry.clone()) else {
            bail!(
                "Apache Kafka and a registry are needed: `make bench` starts them (tests/components/with-kafka, which needs Java and Maven)"
            );
        };
        let binaries = match &self.binaries {
            Some(folder) => folder.clone(),
            None => {
                let own = std::env::current_exe().context("where is this program?")?;
                own.parent().map(Path::to_owned).unwrap_or_default()
            }
        };
        for service in tidings::services::ServiceName::NAMES {
            let binary = binaries.join(service);
            anyhow::ensure!(binary.is_file(), "{} is missing: `make bench` builds it", binary.display());
        }
        let kafka = Kafka::find(RealKafka { bootstrap_servers, registry })?;
        Ok(Setting { kafka, binaries, quick: self.quick, orders: self.orders.clone(), out: out.to_owned() })
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Row(Row),
    Curve(&'static Curve),
}

impl Subject {
    /// The rows, then the curves.
    fn all() -> Vec<Self> {
        Row::ALL.into_iter().map(Self::Row).chain(CURVES.iter().map(Self::Curve)).collect()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Row(row) => row.name(),
            Self::Curve(curve) => curve.name,
        }
    }

    const fn measures(self) -> &'static str {
        match self {
            Self::Row(row) => row.measures(),
            Self::Curve(curve) => curve.measures,
        }
    }

    const fn beside(self) -> &'static str {
        match self {
            Self::Row(row) => row.beside(),
            Self::Curve(curve) => curve.beside,
        }
    }
}

/// The page of the results; and their headline, if they are the repository's.
fn write_pages(out: &Path) -> anyhow::Result<()> {
    pages::write(out, &names())?;
    let root = root()?;
    let kept = root.join(KEPT).canonicalize().ok();
    if kept.is_some() && out.canonicalize().ok() == kept {
        pages::write_headline(&root.join("README.md"), out, &names())?;
    }
    Ok(())
}

/// The repository.
fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().with_context(|| format!("where is {}?", root.display()))
}

/// The names of all, in their order.
fn names() -> Vec<&'static str> {
    Subject::all().into_iter().map(Subject::name).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_takes_every_row_and_curve_by_its_name() {
        Cli::command().debug_assert();
        for name in names() {
            let parsed = Cli::try_parse_from(["bench", "--only", name]).unwrap();
            assert_eq!(parsed.subjects().iter().map(|subject| subject.name()).collect::<Vec<_>>(), [name]);
        }
        assert!(Cli::try_parse_from(["bench", "--only", "nothing"]).is_err());
    }

    #[test]
    fn the_readme_has_the_headline_of_what_was_measured() {
        let root = root().unwrap();
        let readme = fs::read_to_string(root.join("README.md")).unwrap();
        let copy = tempfile::NamedTempFile::new().unwrap();
        fs::write(copy.path(), &readme).unwrap();
        pages::write_headline(copy.path(), &root.join(KEPT), &names()).unwrap();
        let expected = fs::read_to_string(copy.path()).unwrap();
        assert!(readme == expected, "run `make bench ARGS=--pages`");
    }

    #[test]
    fn without_names_it_runs_the_rows_or_the_curves() {
        let subjects = |options: &[&str]| -> Vec<&str> {
            let cli = Cli::try_parse_from([&["bench"], options].concat()).unwrap();
            cli.subjects().into_iter().map(Subject::name).collect()
        };
        let rows = subjects(&[]);
        assert!(rows.contains(&"accept") && !rows.contains(&"price"), "{rows:?}");
        let by_name_only = Row::ALL.into_iter().filter(|row| row.is_by_name_only()).count();
        assert_eq!(rows.len(), Row::ALL.len() - by_name_only);
        assert_eq!(subjects(&["--curves"]), CURVES.iter().map(|curve| curve.name).collect::<Vec<_>>());
    }
}
