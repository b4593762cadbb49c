//! What a row runs on: a PostgreSQL of its own that syncs to disk, the Kafka of the run, the binaries that ship.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use embedded::postgres::{PostgresOptions, PrivatePostgres, Storage};
use sqlx::{Connection as _, PgConnection};
use tidings::services::ServiceName;
use tidings::up::databases::database_url;

use crate::kafka::Kafka;
use crate::machine::{Beginning, Machine};

/// How a line of the server's log begins: `PID|`. `recorded.rs` reads it.
const LOG_LINE_PREFIX: &str = "%p|";

/// The servers of one row.
pub(crate) struct Servers {
    postgres: PrivatePostgres,
    postmaster: u32,
    pub(crate) kafka: Kafka,
    /// The folder of the binaries.
    pub(crate) binaries: PathBuf,
    files: tempfile::TempDir,
}

impl Servers {
    /// Starts a PostgreSQL with its default settings.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub(crate) async fn start(kafka: &Kafka, binaries: &Path) -> anyhow::Result<Self> {
        Self::start_with(kafka, binaries, &[]).await
    }

    /// The same, with these settings.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub(crate) async fn start_with(
        kafka: &Kafka,
        binaries: &Path,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let settings = [("log_line_prefix", LOG_LINE_PREFIX)].iter().chain(settings);
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = PostgresOptions { fsync: true, settings, ..PostgresOptions::default() };
        let postgres = PrivatePostgres::start(&Storage::Temporary, &options).await.context(
            "PostgreSQL with pgbench is needed. Debian and Ubuntu: 'sudo apt-get install postgresql'.",
        )?;
        let file = postgres.dir().join("data/postmaster.pid");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let postmaster = text.lines().next().unwrap_or_default().trim().parse();
        let files = tempfile::Builder::new().prefix("tidings-bench-").tempdir()?;
        Ok(Self {
            postgres,
            postmaster: postmaster.with_context(|| format!("no process id in {}", file.display()))?,
            kafka: kafka.clone(),
            binaries: binaries.to_owned(),
            files,
        })
    }

    /// The machine and the versions.
    pub(crate) async fn machine(&self, beginning: &Beginning) -> anyhow::Result<Machine> {
        let mut server = self.connect("postgres").await?;
        let version: String =
            sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&mut server).await?;
        let number = version.split(' ').next().unwrap_or_default();
        Ok(Machine::look(number, &self.kafka, beginning))
    }

    /// The process to which PostgreSQL's other processes belong.
    pub(crate) const fn postmaster(&self) -> u32 {
        self.postmaster
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.postgres.dir().join("server.log")
    }

    /// A folder that goes with this row.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// The server's URL, which has its password.
    pub(crate) fn url(&self) -> String {
        self.postgres.url("postgres")
    }

    /// The URL of a service's database.
    pub(crate) fn database_of(&self, service: ServiceName) -> String {
        database_url(&self.url(), &service.database())
    }

    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let url = database_url(&self.url(), database);
        PgConnection::connect(&url).await.with_context(|| format!("connecting to the database {database}"))
    }

    /// Creates the databases of these services that are missing.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn create_databases(
        &self,
        services: impl IntoIterator<Item = ServiceName>,
    ) -> anyhow::Result<()> {
        let mut server = self.connect("postgres").await?;
        for service in services {
            let is_there: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                    .bind(service.database())
                    .fetch_one(&mut server)
                    .await?;
            let create = match service {
                _ if is_there => continue,
                ServiceName::Order => sqlx::query("CREATE DATABASE tidings_order"),
                ServiceName::Inventory => sqlx::query("CREATE DATABASE tidings_inventory"),
                ServiceName::Payment => sqlx::query("CREATE DATABASE tidings_payment"),
                ServiceName::Notification => sqlx::query("CREATE DATABASE tidings_notification"),
                ServiceName::Analytics => sqlx::query("CREATE DATABASE tidings_analytics"),
            };
            create.execute(&mut server).await.with_context(|| format!("the database of {service}"))?;
        }
        Ok(())
    }

    /// A program of this PostgreSQL's installation.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let server =
            fs::read_link(format!("/proc/{}/exe", self.postmaster)).context("where is PostgreSQL?")?;
        let program = server.with_file_name(name);
        anyhow::ensure!(
            program.is_file(),
            "{} is missing. Debian and Ubuntu: 'sudo apt-get install postgresql' has it.",
            program.display()
        );
        Ok(program)
    }

    /// Writes everything to disk, so that a measurement does not pay for what was before it.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<()> {
        let mut server = self.connect("postgres").await?;
        sqlx::query("CHECKPOINT").execute(&mut server).await?;
        Ok(())
    }
}
