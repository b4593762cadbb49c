//! The state file by which other commands find the system that `tidings up` runs.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// A running system: where each of its parts is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningSystem {
    /// The process id of `tidings up`.
    pub pid: u32,
    /// When that process started, in clock ticks after the start of the machine: another process can get its id later.
    #[serde(default)]
    pub start_ticks: Option<u64>,
    /// Base URL of each service by its name.
    pub services: BTreeMap<String, String>,
    /// Base URL of the PostgreSQL server, without a database's name.
    pub postgres: String,
    /// The brokers, `HOST:PORT`.
    pub kafka: String,
    /// The schema registry's URL.
    pub registry: String,
    /// The topics' prefix.
    pub topics_prefix: String,
    /// Where the services log.
    pub logs: PathBuf,
    /// Base URL of a query API in Jaeger's form, if there is one.
    #[serde(default)]
    pub traces: Option<String>,
}

/// The state file, removed when this value goes.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// Where the state file of this user's system `name` stands: the runtime directory, or one of the user's own under `/tmp`.
///
/// # Errors
/// When that directory belongs to another user.
pub fn default_path(name: Option<&str>) -> anyhow::Result<PathBuf> {
    let file = name.map_or_else(|| "tidings.json".to_owned(), |name| format!("tidings-{name}.json"));
    #[expect(clippy::disallowed_methods, reason = "the command's own surroundings, no configuration")]
    let runtime_dir = std::env::var("XDG_RUNTIME_DIR").ok().filter(|dir| Path::new(dir).is_absolute());
    if let Some(dir) = runtime_dir.map(PathBuf::from).filter(|dir| dir.is_dir()) {
        return Ok(dir.join(file));
    }
    // Linux shows a process's owner as the owner of its directory under /proc.
    let user = fs::metadata("/proc/self").map(|own| own.uid()).context("who runs this process?")?;
    let dir = std::env::temp_dir().join(format!("tidings-{user}"));
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        // Nothing runs where nothing can be written, as in a container: there is no state to be found.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let metadata =
                fs::symlink_metadata(&dir).with_context(|| format!("looking at {}", dir.display()))?;
            if !metadata.is_dir() || metadata.uid() != user {
                bail!("{} is not a directory of yours; set XDG_RUNTIME_DIR to one that is", dir.display());
            }
        }
        Err(error) => return Err(error).with_context(|| format!("creating {}", dir.display())),
    }
    Ok(dir.join(file))
}

/// The name of a system, of which a user can have several: a part of a file's name.
///
/// # Errors
/// When it has other characters than letters, digits, `-` and `_`, or more than 40.
pub fn name(text: &str) -> Result<String, String> {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name && (1..=40).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 40 letters, digits, - and _".to_owned())
    }
}

/// When a process started, in clock ticks after the start of the machine; none if there is no such process.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything. proc_pid_stat(5): starttime is field 22, state is field 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(22 - 3)?.parse().ok()
}

/// Refuses to go on while another system of this user runs.
///
/// # Errors
/// When one does, or the state file can't be read.
pub fn refuse_second(path: &Path) -> anyhow::Result<()> {
    match RunningSystem::read(path)?.filter(RunningSystem::is_alive) {
        Some(other) => bail!(
            "a system is running already (process {}, orders at {}); stop it first, or start another one beside it with --name NAME \
             --ports auto",
            other.pid,
            other.service("order").unwrap_or("?")
        ),
        None => Ok(()),
    }
}

impl StateFile {
    /// Writes the state of a system that has just started. A file left behind by a dead one is replaced.
    ///
    /// # Errors
    /// When another system of this user runs, or the file can't be written.
    pub fn create(path: &Path, system: &RunningSystem) -> anyhow::Result<Self> {
        refuse_second(path)?;
        let fresh = path.with_extension(format!("{}.new", system.pid));
        let write = || -> anyhow::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(system)?)?;
            file.sync_all()?;
            Ok(fs::rename(&fresh, path)?)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl RunningSystem {
    /// The system of this name that runs, if one does.
    ///
    /// # Errors
    /// When there is a state file that can't be read.
    pub fn find(name: Option<&str>) -> anyhow::Result<Option<Self>> {
        Ok(Self::read(&default_path(name)?)?.filter(Self::is_alive))
    }

    fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn is_alive(&self) -> bool {
        match (start_ticks(self.pid), self.start_ticks) {
            (Some(started), Some(recorded)) => started == recorded,
            // Recorded by an earlier release.
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// A service's base URL.
    pub fn service(&self, name: &str) -> Option<&str> {
        self.services.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(pid: u32) -> RunningSystem {
        RunningSystem {
            pid,
            start_ticks: start_ticks(pid),
            services: BTreeMap::from([("order".into(), "http://127.0.0.1:8080".into())]),
            postgres: "postgres://tidings@127.0.0.1:5432".into(),
            kafka: "127.0.0.1:9092".into(),
            registry: "http://127.0.0.1:8081".into(),
            topics_prefix: "tidings".into(),
            logs: "/tmp".into(),
            traces: Some("http://127.0.0.1:16686".into()),
        }
    }

    #[test]
    fn the_state_file_is_the_owners_alone_and_goes_with_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidings.json");
        let file = StateFile::create(&path, &system(std::process::id())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(RunningSystem::read(&path).unwrap(), Some(system(std::process::id())));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn another_process_that_has_got_the_id_of_a_dead_one_is_no_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidings.json");
        let mut state = serde_json::to_value(system(std::process::id())).unwrap();
        state["start_ticks"] = 1.into();
        fs::write(&path, state.to_string()).unwrap();
        refuse_second(&path).unwrap();
        let _alive = StateFile::create(&path, &system(std::process::id())).unwrap();
        refuse_second(&path).unwrap_err();
    }

    #[test]
    fn systems_of_different_names_have_different_files() {
        let file = |name: Option<&str>| default_path(name).unwrap();
        assert!(file(None).ends_with("tidings.json"));
        assert_ne!(file(Some("a")), file(Some("b")));
        assert!(name("blue-2").is_ok());
        for refused in ["", "../x", "a b", &"n".repeat(41)] {
            assert!(name(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_second_system_is_refused_and_a_dead_ones_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidings.json");
        let alive = StateFile::create(&path, &system(std::process::id())).unwrap();
        let error = StateFile::create(&path, &system(1)).unwrap_err().to_string();
        assert!(error.contains("running already"), "{error}");
        drop(alive);
        // No process has this id: it is above the kernel's highest limit.
        std::mem::forget(StateFile::create(&path, &system(u32::MAX)).unwrap());
        StateFile::create(&path, &system(std::process::id())).unwrap();
    }
}
