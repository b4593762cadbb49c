//! The account under which PostgreSQL runs: PostgreSQL refuses to be root.

use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::PostgresError;

/// Somebody who isn't root: ourselves, or another account when we are root.
#[derive(Clone, Debug)]
pub(super) struct Account {
    switch_to: Option<(u32, u32)>,
}

impl Account {
    /// Ourselves unless we are root; then `postgres`, then `nobody`.
    pub(super) fn find() -> Result<Self, PostgresError> {
        if id(&["-u"])? != Some(0) {
            return Ok(Self { switch_to: None });
        }
        for name in ["postgres", "nobody"] {
            if let (Some(user), Some(group)) = (id(&["-u", name])?, id(&["-g", name])?) {
                return Ok(Self { switch_to: Some((user, group)) });
            }
        }
        Err(PostgresError::NoAccount)
    }

    /// Whether files must change hands because we are root.
    pub(super) const fn is_another(&self) -> bool {
        self.switch_to.is_some()
    }

    /// A command that runs as this account. The standard library also drops root's other groups.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        if let Some((user, group)) = self.switch_to {
            command.uid(user).gid(group);
        }
        command
    }

    /// Refuses a directory that this account can't enter.
    pub(super) fn enter(&self, dir: &Path) -> Result<(), PostgresError> {
        let Some((user, _)) = self.switch_to else { return Ok(()) };
        let entered = self
            .command("/bin/sh")
            .args(["-c", r#"cd "$1""#, "enter"])
            .arg(dir)
            .current_dir("/")
            .stderr(Stdio::null())
            .status()
            .map_err(PostgresError::io("running /bin/sh"))?;
        if entered.success() {
            Ok(())
        } else {
            Err(PostgresError::Closed { dir: dir.display().to_string(), user })
        }
    }

    /// Gives a path, which is ours to give, to this account.
    pub(super) fn own(&self, path: &Path) -> Result<(), PostgresError> {
        match self.switch_to {
            None => Ok(()),
            Some((user, group)) => lchown(path, Some(user), Some(group))
                .map_err(PostgresError::io(format!("giving {} to user {user}", path.display()))),
        }
    }
}

/// What `id` prints, which also knows users of directories such as LDAP; `None` for an unknown user.
fn id(arguments: &[&str]) -> Result<Option<u32>, PostgresError> {
    let output =
        Command::new("id").args(arguments).output().map_err(PostgresError::io("asking `id` for a user"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}
