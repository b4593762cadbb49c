//! Why a configuration can't be used: each error names the culprit.

use std::path::PathBuf;

use figment::error::Kind;

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
    /// A setting names a file that can't be read. Its path is shown only if it is one: it may be the secret itself.
    #[error("{key} names the file {path}, which can't be read")]
    UnreadableValue {
        /// The setting.
        key: String,
        /// The path, as it may be printed.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not TOML. The line is not shown: it may hold a password.
    #[error("{}, line {line}, column {column}: {detail}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser expected.
        detail: String,
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
    /// A value of the wrong type. It is not shown: it may be a secret in the wrong place.
    #[error("{name} has a value that can't be used: {wanted} is needed")]
    Invalid {
        /// The variable, or the key and its file.
        name: String,
        /// Values that can be.
        wanted: String,
    },
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

impl ConfigError {
    /// A value of the wrong type, at the setting `name`.
    pub(super) fn invalid(name: String, kind: &Kind) -> Self {
        let wanted = match kind {
            Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) | Kind::InvalidLength(_, wanted) => {
                wanted.clone()
            }
            Kind::UnknownVariant(_, variants) => format!("one of {}", variants.join(", ")),
            Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "a smaller number".to_owned(),
            Kind::Message(_)
            | Kind::UnknownField(..)
            | Kind::MissingField(_)
            | Kind::DuplicateField(_)
            | Kind::Unsupported(_)
            | Kind::UnsupportedKey(..) => "another value".to_owned(),
        };
        Self::Invalid { name, wanted }
    }
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        Self::invalid(error.path.join("."), &error.kind)
    }
}
