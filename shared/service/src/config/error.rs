//! Why a configuration can't be used: each error names the culprit.

use std::path::PathBuf;

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An unknown section.
    #[error("{place}: unknown section [{section}]; {meant}")]
    UnknownSection {
        /// Its name.
        section: String,
        /// Where it stands.
        place: String,
        /// The nearest section, or all that there are.
        meant: String,
    },
    /// A setting that no section has.
    #[error("unknown setting {name}; {meant}")]
    UnknownSetting {
        /// The variable, or the key and its file.
        name: String,
        /// The nearest setting, or all that the section has.
        meant: String,
    },
    /// An environment variable with one underscore where two belong.
    #[error(
        "the environment variable {name} means nothing; section and key are separated by two underscores: {meant}"
    )]
    Variable {
        /// The variable.
        name: String,
        /// What was probably meant.
        meant: String,
    },
    /// A setting is given both as it is and by a file.
    #[error("both {key} and {file_key} are set; keep one of them")]
    Twice {
        /// The setting.
        key: String,
        /// The key that names a file.
        file_key: String,
    },
    /// A value of the wrong type, or a file that is not TOML.
    #[error(transparent)]
    Invalid(Box<figment::Error>),
    /// A value that makes no sense.
    #[error("{key} = {value}: {reason}")]
    Senseless {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why it can't be.
        reason: &'static str,
    },
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        Self::Invalid(Box::new(error))
    }
}
