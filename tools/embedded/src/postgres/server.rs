//! A PostgreSQL server of our own, which ends with us even when we are killed.
//!
//! A small shell supervises it: when our end of the shell's standard input closes, by `stop` or because this process
//! is gone, it stops the server.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::PostgresError;
use super::account::Account;
use super::programs::{Programs, Version};
use crate::ports::ReservedPort;

/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a fast shutdown may take before the supervisor asks for an immediate one.
const FAST_STOP_S: u64 = 20;

/// How long a stop may take altogether.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

/// Arguments: seconds for a fast shutdown, log file, directory to remove at the end or nothing, the server's command.
const SUPERVISOR: &str = r#"
seconds=$1 log=$2 remove=$3
shift 3
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
(
    read -r _ <&3
    if [ -n "$remove" ]; then : >"$remove/stopping"; fi
    kill -INT "$server"
    while [ "$seconds" -gt 0 ]; do
        sleep 1
        seconds=$((seconds - 1))
    done
    kill -QUIT "$server"
) >/dev/null 2>&1 &
watcher=$!
wait "$server"
code=$?
kill "$watcher" 2>/dev/null
if [ -n "$remove" ] && [ -e "$remove/stopping" ]; then cd / && rm -rf "$remove"; fi
exit "$code"
"#;

/// Where a server keeps its files.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In a directory that is removed when the server ends.
    Temporary,
    /// In a directory `postgres` below this one, which is made if it is missing and otherwise stays as it is: its owner, its
    /// rights, what else is in it. What is there is continued. The major version stays that of the files.
    Kept(PathBuf),
}

/// What a private server is to be like. `PostgresOptions::default()` suits a database that should survive a crash.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Which PostgreSQL.
    pub version: Version,
    /// On which port of 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Whether a commit waits for the disk. Off only where a lost database costs nothing.
    pub fsync: bool,
    /// How many clients may be connected at a time.
    pub max_connections: u32,
    /// More settings of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { version: Version::Any, port: 0, fsync: true, max_connections: 200, settings: Vec::new() }
    }
}

impl PostgresOptions {
    /// For tests: nothing has to survive a crash of the machine, and as many run at a time as it has cores, with some pools each.
    pub fn for_tests() -> Self {
        // Each test that reads the write-ahead log has a slot.
        let settings =
            ["max_replication_slots", "max_wal_senders"].map(|name| (name.to_owned(), "100".to_owned()));
        Self { fsync: false, max_connections: 1_000, settings: settings.to_vec(), ..Self::default() }
    }
}

/// A running server on 127.0.0.1. Dropping it stops it; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct PrivatePostgres {
    supervisor: Child,
    dir: PathBuf,
    temporary: bool,
    major: u32,
    port: ReservedPort,
    password: String,
}

impl PrivatePostgres {
    /// Finds or fetches PostgreSQL, creates the database cluster unless it is there, and waits until it answers.
    ///
    /// # Errors
    /// When there is no PostgreSQL to run, nobody to run it as, or it does not come up in time.
    pub async fn start(storage: &Storage, options: &PostgresOptions) -> Result<Self, PostgresError> {
        let account = Account::find()?;
        let port = ReservedPort::reserve(options.port)
            .map_err(PostgresError::io(format!("taking port {} of 127.0.0.1", options.port)))?;
        Cluster::open(storage, options, account).await?.start(options, port).await
    }

    /// The URL of a database of this server, with its password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port())
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's major version.
    pub const fn major_version(&self) -> u32 {
        self.major
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the server still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.supervisor.try_wait(), Ok(None))
    }

    /// Stops the server and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        drop(self.supervisor.stdin.take());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.is_running() {
            if Instant::now() >= deadline {
                return Err(self.not_stopped());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn not_stopped(&self) -> PostgresError {
        PostgresError::NotStopped { dir: self.dir.display().to_string(), seconds: STOP_TIMEOUT.as_secs() }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.is_running() && Instant::now() < deadline {
            #[expect(
                clippy::disallowed_methods,
                reason = "a bounded wait for a process, where nothing can await"
            )]
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.temporary {
            // The supervisor does it where we can't; the second one finds nothing.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A database cluster and what runs it.
struct Cluster {
    account: Account,
    programs: Programs,
    dir: PathBuf,
    temporary: bool,
    password: String,
}

impl Cluster {
    /// Creates the files unless they are there; then the password is the one kept beside them.
    async fn open(
        storage: &Storage,
        options: &PostgresOptions,
        account: Account,
    ) -> Result<Self, PostgresError> {
        let (dir, temporary) = match storage {
            Storage::Temporary => (std::env::temp_dir().join(format!("tidings-postgres-{}", secret())), true),
            Storage::Kept(dir) => (kept_dir(dir)?, false),
        };
        let existing = cluster_version(&dir.join("data"));
        let programs = Programs::find(existing.unwrap_or(options.version), &account).await?;
        let mut cluster = Self { account, programs, dir, temporary, password: secret() };
        if existing.is_some() {
            cluster.password = cluster.kept_password()?;
        } else {
            cluster.create(options)?;
        }
        Ok(cluster)
    }

    fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    fn kept_password(&self) -> Result<String, PostgresError> {
        let file = self.password_file();
        std::fs::read_to_string(&file)
            .map(|text| text.trim().to_owned())
            .map_err(PostgresError::io(format!("reading {}", file.display())))
    }

    /// Makes the directory and everything in it; what was made goes again if that fails. Nothing that exists changes hands.
    fn create(&self, options: &PostgresOptions) -> Result<(), PostgresError> {
        let creating = |dir: &Path| PostgresError::io(format!("creating {}", dir.display()));
        let above = self.dir.parent().filter(|above| !above.exists());
        if let Some(above) = above {
            std::fs::create_dir_all(above).map_err(creating(above))?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(PostgresError::Occupied { dir: self.dir.display().to_string() });
            }
            Err(error) => return Err(creating(&self.dir)(error)),
        }
        let filled = self.fill(options);
        if filled.is_err() {
            let _ = std::fs::remove_dir_all(&self.dir);
            // Only if it is empty, as it was made.
            let _ = above.map(std::fs::remove_dir);
        }
        filled
    }

    fn fill(&self, options: &PostgresOptions) -> Result<(), PostgresError> {
        self.account.own(&self.dir)?;
        self.account.enter(&self.dir)?;
        let file = self.password_file();
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut opened| opened.write_all(self.password.as_bytes()))
            .map_err(PostgresError::io(format!("writing {}", file.display())))?;
        self.account.own(&file)?;
        self.initialize(options)
    }

    fn initialize(&self, options: &PostgresOptions) -> Result<(), PostgresError> {
        let initdb = self.programs.bin.join("initdb");
        // `password` over loopback: a user who can listen there can read the password file too.
        let output = self
            .account
            .command(&initdb)
            .args(["--username=postgres", "--auth=password", "--encoding=UTF8", "--locale=C"])
            .args((!options.fsync).then_some("--no-sync"))
            .arg(format!("--pgdata={}", self.dir.join("data").display()))
            .arg(format!("--pwfile={}", self.password_file().display()))
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(PostgresError::io(format!("running {}", initdb.display())))?;
        if output.status.success() {
            return Ok(());
        }
        Err(PostgresError::Program {
            program: initdb.display().to_string(),
            detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    async fn start(
        &self,
        options: &PostgresOptions,
        port: ReservedPort,
    ) -> Result<PrivatePostgres, PostgresError> {
        let log = self.dir.join("server.log");
        let mut command = self.account.command("/bin/sh");
        command
            .args(["-c", SUPERVISOR, "tidings-postgres", &FAST_STOP_S.to_string()])
            .arg(&log)
            .arg(if self.temporary { self.dir.as_os_str() } else { "".as_ref() })
            .arg(self.programs.bin.join("postgres"))
            .arg("-D")
            .arg(self.dir.join("data"));
        for (name, value) in server_settings(port.number(), options) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A group of its own: Ctrl-C at a terminal reaches us, not the server that our services still need.
        command.process_group(0).current_dir("/").stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let supervisor = command.spawn().map_err(PostgresError::io("running /bin/sh"))?;
        let mut server = PrivatePostgres {
            supervisor,
            dir: self.dir.clone(),
            temporary: self.temporary,
            major: self.programs.major,
            port,
            password: self.password.clone(),
        };
        self.ready(&mut server, &log).await?;
        Ok(server)
    }

    async fn ready(&self, server: &mut PrivatePostgres, log: &Path) -> Result<(), PostgresError> {
        let url = server.url("postgres");
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(Ok(connection)) =
                tokio::time::timeout(Duration::from_secs(2), PgConnection::connect(&url)).await
            {
                let _ = connection.close().await;
                return Ok(());
            }
            if !server.is_running() || Instant::now() >= deadline {
                return Err(PostgresError::NotReady {
                    dir: self.dir.display().to_string(),
                    detail: tail(log),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Where the files are below a directory of somebody's. Release 0.2.0 kept them in the directory itself.
fn kept_dir(given: &Path) -> Result<PathBuf, PostgresError> {
    let given =
        std::path::absolute(given).map_err(PostgresError::io(format!("resolving {}", given.display())))?;
    let of_release_0_2 = given.join("password").exists() && cluster_version(&given.join("data")).is_some();
    Ok(if of_release_0_2 { given } else { given.join("postgres") })
}

fn server_settings(port: u16, options: &PostgresOptions) -> Vec<(String, String)> {
    let on_off = |on| if on { "on" } else { "off" };
    let mut settings: Vec<(String, String)> = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", String::new()),
        ("max_connections", options.max_connections.to_string()),
        ("wal_level", "logical".to_owned()),
        ("fsync", on_off(options.fsync).to_owned()),
        ("full_page_writes", on_off(options.fsync).to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("timezone", "UTC".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    settings.extend(options.settings.iter().cloned());
    settings
}

/// The major version of the files in `data`, if a cluster is there.
fn cluster_version(data: &Path) -> Option<Version> {
    let text = std::fs::read_to_string(data.join("PG_VERSION")).ok()?;
    text.trim().parse().ok().map(Version::Major)
}

fn secret() -> String {
    contracts::clock::new_id().simple().to_string()
}

/// The last lines of a log file.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
