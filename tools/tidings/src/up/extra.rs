//! Programs that run beside the five services (`--with`): which ones, checked before anything starts.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::services::ServiceName;

/// The longest name: it is a part of the database's name, and PostgreSQL cuts identifiers after 63 bytes.
const MAX_NAME_BYTES: usize = 40;

/// A program beside the five services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtraService {
    /// The program's file name without an extension.
    pub(super) name: String,
    /// Where it is.
    pub(super) program: PathBuf,
}

/// Why a program can't run beside the five services.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExtraError {
    #[error("--with {}: no such file; build the program first, and name its file", path.display())]
    NotFound { path: PathBuf },
    #[error("--with {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("--with {}: not a file", path.display())]
    NotAFile { path: PathBuf },
    #[error("--with {}: not executable; chmod +x makes a script executable", path.display())]
    NotExecutable { path: PathBuf },
    #[error(
        "--with {}: the file's name becomes the name of the service, so it must begin with a lower-case letter and have lower-case \
         letters, digits, - and _ only, at most {MAX_NAME_BYTES}; rename the file, or make a link to it",
        path.display()
    )]
    Name { path: PathBuf },
    #[error(
        "--with {}: {name} is one of the five services ({}); rename the file, or make a link to it",
        path.display(),
        ServiceName::NAMES.join(", ")
    )]
    OneOfOurs { path: PathBuf, name: String },
    #[error("--with {} and --with {}: both would use the database {database}", one.display(), other.display())]
    Twice { one: PathBuf, other: PathBuf, database: String },
}

impl ExtraService {
    fn try_new(path: &Path) -> Result<Self, ExtraError> {
        let path = path.to_owned();
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ExtraError::NotFound { path });
            }
            Err(source) => return Err(ExtraError::Unreadable { path, source }),
        };
        if !metadata.is_file() {
            return Err(ExtraError::NotAFile { path });
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(ExtraError::NotExecutable { path });
        }
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| is_name(name)) else {
            return Err(ExtraError::Name { path });
        };
        let name = name.to_owned();
        if ServiceName::named(&name).is_some() {
            return Err(ExtraError::OneOfOurs { path, name });
        }
        // A name without a folder would be looked for in PATH.
        match std::path::absolute(&path) {
            Ok(program) => Ok(Self { name, program }),
            Err(source) => Err(ExtraError::Unreadable { path, source }),
        }
    }

    /// The name of its database.
    pub(super) fn database(&self) -> String {
        format!("tidings_{}", self.name.replace('-', "_"))
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

/// The programs at `paths`.
///
/// # Errors
/// When one of them can't be run, or its name is taken.
pub(super) fn all(paths: &[PathBuf]) -> Result<Vec<ExtraService>, ExtraError> {
    let mut extras: Vec<ExtraService> = Vec::with_capacity(paths.len());
    for path in paths {
        let extra = ExtraService::try_new(path)?;
        if let Some(other) = extras.iter().find(|other| other.database() == extra.database()) {
            let (one, database) = (other.program.clone(), extra.database());
            return Err(ExtraError::Twice { one, other: path.clone(), database });
        }
        extras.push(extra);
    }
    Ok(extras)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn program(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_program_is_named_after_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["loyalty", "price-watch.py"].map(|name| program(dir.path(), name, 0o755));
        let extras = all(&paths).unwrap();
        let names: Vec<&str> = extras.iter().map(|extra| extra.name.as_str()).collect();
        assert_eq!(names, ["loyalty", "price-watch"]);
        assert_eq!(extras[1].database(), "tidings_price_watch");
        assert_eq!(extras[1].program, paths[1]);
    }

    #[test]
    fn a_program_that_cannot_run_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (dir.path().join("missing"), "no such file"),
            (dir.path().to_owned(), "not a file"),
            (program(dir.path(), "text", 0o644), "not executable"),
            (program(dir.path(), "Loyalty", 0o755), "must begin with a lower-case letter"),
            (program(dir.path(), &"l".repeat(41), 0o755), "at most 40"),
            (program(dir.path(), "payment", 0o755), "payment is one of the five services"),
        ] {
            let error = all(std::slice::from_ref(&path)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn two_programs_of_one_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a-b", "a_b"].map(|name| program(dir.path(), name, 0o755));
        let error = all(&paths).unwrap_err().to_string();
        assert!(error.contains("both would use the database tidings_a_b"), "{error}");
    }
}
