//! One service as a process: started, watched, started again when it dies, stopped at the end.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use backoff::Backoff;
use embedded::ports::ReservedPort;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::configuration::Settings;

/// How long a service may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);
/// The pauses before a restart.
const RESTART: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// A service that lived so long starts again with the shortest pause.
const SETTLED: Duration = Duration::from_secs(20);
/// How much of a log is shown when a service dies.
const TAIL_BYTES: u64 = 1_500;

/// Takes what the user should read, one line each.
pub type Say = Arc<dyn Fn(String) + Send + Sync>;

/// How to run a service.
#[derive(Debug)]
pub struct Spec {
    /// Which one.
    pub name: String,
    /// Its configured address; reserved while it is supervised, also when it is dead.
    pub port: ReservedPort,
    /// Its binary.
    pub binary: PathBuf,
    /// How it gets its configuration.
    pub settings: Settings,
    /// Where its output goes.
    pub log: PathBuf,
}

/// What is known of the process from outside.
#[derive(Debug, Default)]
pub struct Watch {
    pid: AtomicU32,
    deaths: AtomicU32,
}

impl Watch {
    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// How often it has died.
    pub fn deaths(&self) -> u32 {
        self.deaths.load(Ordering::Acquire)
    }

    /// Kills the process at once (SIGKILL), as a crash would. Whether there was one.
    pub fn kill(&self) -> bool {
        self.pid().is_some_and(|pid| signal(pid, Signal::KILL))
    }
}

fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Runs the service until `shutdown`, starting it again with growing pauses whenever it dies.
///
/// # Errors
/// When it can't be started at all.
pub async fn supervise(
    spec: Spec,
    watch: Arc<Watch>,
    shutdown: CancellationToken,
    say: Say,
) -> anyhow::Result<()> {
    let mut deaths = 0;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let mut child = spawn(&spec)?;
        let pid = child.id().unwrap_or_default();
        watch.pid.store(pid, Ordering::Release);
        let status = tokio::select! {
            status = child.wait() => status.with_context(|| format!("waiting for {}", spec.name))?,
            () = shutdown.cancelled() => return stop(&spec, &mut child, &say).await,
        };
        watch.pid.store(0, Ordering::Release);
        watch.deaths.fetch_add(1, Ordering::AcqRel);
        if started.elapsed() >= SETTLED {
            deaths = 0;
        }
        deaths += 1;
        let pause = RESTART.pause(deaths);
        say(format!("{} (process {pid}) died: {}; starting it again in {pause:?}", spec.name, why(status)));
        if status.code().is_some() {
            tail(&spec.log).lines().for_each(|line| say(format!("  {line}")));
        }
        let _ = timeout(pause, shutdown.cancelled()).await;
    }
    Ok(())
}

/// Starts the process. In a group of its own, so that Ctrl-C reaches only us; and, where Linux can do it, bound to
/// our life, so that it does not outlive us when we are killed.
fn spawn(spec: &Spec) -> anyhow::Result<Child> {
    let open = || OpenOptions::new().create(true).append(true).open(&spec.log);
    let log = open().with_context(|| format!("opening {}", spec.log.display()))?;
    let output = log.try_clone().with_context(|| format!("opening {}", spec.log.display()))?;
    let mut command = match lifeline() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(&spec.binary);
            command
        }
        None => Command::new(&spec.binary),
    };
    match &spec.settings {
        Settings::File(path) => {
            command.arg("--config").arg(path);
        }
        Settings::Environment(variables) => {
            for (name, value) in variables {
                // A variable of the same setting that names a file would contradict this one.
                command.env_remove(format!("{name}_FILE")).env(name, value);
            }
        }
    }
    // An error says what to do; where in the code it was made would push that out of the log's end.
    command.env("RUST_LIB_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(output).stderr(log).process_group(0).kill_on_drop(true);
    command.spawn().with_context(|| format!("starting {}", spec.binary.display()))
}

/// util-linux's `setpriv`, which replaces itself by the command after asking for a signal at its parent's death.
fn lifeline() -> Option<PathBuf> {
    ["/usr/bin/setpriv", "/bin/setpriv"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

async fn stop(spec: &Spec, child: &mut Child, say: &Say) -> anyhow::Result<()> {
    if let Some(pid) = child.id() {
        signal(pid, Signal::TERM);
    }
    if let Ok(status) = timeout(GRACE, child.wait()).await {
        let status = status.with_context(|| format!("waiting for {}", spec.name))?;
        if !status.success() {
            say(format!("{} ended with {}", spec.name, why(status)));
        }
        return Ok(());
    }
    say(format!("{} did not end within {GRACE:?}: killed", spec.name));
    child.kill().await.with_context(|| format!("killing {}", spec.name))
}

fn why(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use testkit::wait::eventually;

    use super::*;

    #[tokio::test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux lets a port be held for somebody else")]
    async fn a_service_that_dies_keeps_its_port() {
        let files = tempfile::tempdir().unwrap();
        let port = ReservedPort::reserve(0).unwrap();
        let address = port.address();
        let spec = Spec {
            name: "order".to_owned(),
            port,
            binary: "/bin/false".into(),
            settings: Settings::File(files.path().join("order.toml")),
            log: files.path().join("order.log"),
        };
        // A socket that shares with nobody.
        let bind = || tokio::net::TcpSocket::new_v4().unwrap().bind(address);
        let (watch, shutdown) = (Arc::new(Watch::default()), CancellationToken::new());
        let supervised =
            supervise(spec, Arc::clone(&watch), shutdown.clone(), Arc::new(|line| println!("{line}")));
        let look = async {
            eventually("it has died twice", Duration::from_secs(30), async || {
                assert_eq!(bind().unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
                if watch.deaths() >= 2 { Ok(()) } else { Err(watch.deaths()) }
            })
            .await;
            shutdown.cancel();
        };
        tokio::join!(supervised, look).0.unwrap();
        bind().unwrap();
    }
}
