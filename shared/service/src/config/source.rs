//! One source of settings: its sections and keys, with `_file` keys replaced by what the files hold.

use std::path::Path;

use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::error::ConfigError;
use super::nearest::{nearest, nearest_setting};

/// What environment variables of ours begin with.
const PREFIX: &str = "TIDINGS_";

/// What figment calls the environment in its errors.
pub(super) const ENVIRONMENT: &str = "environment";

/// The suffix of a key whose value is the path of a file that holds the setting.
pub(super) const FILE_SUFFIX: &str = "_file";

/// A file or the environment, ready to be merged.
#[derive(Debug)]
pub(super) struct Source {
    metadata: Metadata,
    dict: Dict,
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Source {
    /// The sections of a TOML file.
    pub(super) fn file(path: &Path, defaults: &Dict) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut dict: Dict = toml::from_str(&text).map_err(|error| not_toml(path, &text, &error))?;
        for section in dict.keys() {
            if !defaults.contains_key(section) {
                let meant = match nearest(section, defaults.keys().map(String::as_str)) {
                    Some(meant) => format!("the nearest is [{meant}]"),
                    None => format!("there are: {}", known(defaults)),
                };
                let place = path.display().to_string();
                return Err(ConfigError::UnknownSection { section: section.clone(), place, meant });
            }
        }
        read_files(&mut dict, defaults)?;
        Ok(Self { metadata: Metadata::named(format!("file {}", path.display())), dict })
    }

    /// The variables `TIDINGS_<SECTION>__<KEY>` of known sections. Values stay text: the setting's type decides what
    /// they mean, so that a password of digits remains a password.
    pub(super) fn environment(
        variables: impl Iterator<Item = (String, String)>,
        defaults: &Dict,
    ) -> Result<Self, ConfigError> {
        let mut dict = Dict::new();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let rest = rest.to_ascii_lowercase();
            let Some((section, path)) = rest.split_once("__") else {
                refuse_single_underscore(&name, &rest, defaults)?;
                continue;
            };
            if !defaults.contains_key(section) {
                refuse_misspelt_section(&name, section, path, defaults)?;
                continue;
            }
            let keys: Vec<&str> = std::iter::once(section).chain(path.split("__")).collect();
            insert(&mut dict, &keys, parse(&text));
        }
        read_files(&mut dict, defaults)?;
        let metadata = Metadata::named(ENVIRONMENT)
            .interpolater(|_, keys| format!("{PREFIX}{}", keys.join("__").to_ascii_uppercase()));
        Ok(Self { metadata, dict })
    }
}

/// Where the text is no TOML.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
    let line_begins = before.rfind('\n').map_or(0, |end| end + 1);
    ConfigError::NotToml {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_begins..].chars().count() + 1,
        detail: error.message().to_owned(),
    }
}

/// The variable of this setting.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{section}__{key}").to_ascii_uppercase()
}

/// Services may share one environment, so another service's section is passed over; one that is almost a section of this service
/// is misspelt.
fn refuse_misspelt_section(
    name: &str,
    section: &str,
    path: &str,
    defaults: &Dict,
) -> Result<(), ConfigError> {
    let Some(meant) = nearest(section, defaults.keys().map(String::as_str)) else { return Ok(()) };
    let known: Vec<&str> = match defaults.get(meant) {
        Some(Value::Dict(_, settings)) => settings.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    // `url_file` and `properties__sasl_password` are no settings of the defaults.
    let is_setting = !path.ends_with(FILE_SUFFIX) && !path.contains("__");
    let key = nearest_setting(path, &known).filter(|_| is_setting).unwrap_or(path);
    let meant = format!("the nearest is {}", variable(meant, key));
    Err(ConfigError::UnknownSetting { name: name.to_owned(), meant })
}

/// `TIDINGS_HTTP_LISTEN` is a slip that would otherwise be ignored.
fn refuse_single_underscore(name: &str, rest: &str, defaults: &Dict) -> Result<(), ConfigError> {
    for section in defaults.keys() {
        if let Some(key) = rest.strip_prefix(section).and_then(|rest| rest.strip_prefix('_')) {
            return Err(ConfigError::Variable { name: name.to_owned(), meant: variable(section, key) });
        }
    }
    Ok(())
}

/// Text, except lists and tables (`[a, b]`, `{key = value}`).
fn parse(text: &str) -> Value {
    let compound = text.trim_start().starts_with(['[', '{']);
    match text.parse::<Value>() {
        Ok(value) if compound => value,
        _ => Value::from(text),
    }
}

fn insert(dict: &mut Dict, keys: &[&str], value: Value) {
    match keys {
        [] => {}
        [key] => {
            dict.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let inner = dict.entry((*key).to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if !matches!(inner, Value::Dict(..)) {
                *inner = Value::from(Dict::new());
            }
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Replaces `<key>_file` by `<key>` with the file's content, wherever `<key>_file` is no setting itself.
fn read_files(dict: &mut Dict, defaults: &Dict) -> Result<(), ConfigError> {
    for (key, value) in dict.iter_mut() {
        if let (Value::Dict(_, inner), Some(Value::Dict(_, inner_defaults))) = (value, defaults.get(key)) {
            read_files(inner, inner_defaults)?;
        }
    }
    let files: Vec<String> = dict
        .keys()
        .filter(|key| key.ends_with(FILE_SUFFIX) && !defaults.contains_key(*key))
        .cloned()
        .collect();
    for key in files {
        let stem = key.trim_end_matches(FILE_SUFFIX).to_owned();
        let Some(Value::String(_, path)) = dict.remove(&key) else { continue };
        if dict.contains_key(&stem) {
            return Err(ConfigError::Twice { key: stem, file_key: key });
        }
        let path = std::path::PathBuf::from(path);
        let content = std::fs::read_to_string(&path).map_err(|source| {
            let path = redaction::path(&path);
            ConfigError::UnreadableValue { key: key.clone(), path, source }
        })?;
        dict.insert(stem, Value::from(content.trim_end_matches(['\r', '\n'])));
    }
    Ok(())
}

/// The names of all sections, for messages.
fn known(defaults: &Dict) -> String {
    defaults.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// A section without settings, for services whose own section is empty.
pub(super) fn as_dict(value: Value) -> Dict {
    match value {
        Value::Dict(_, dict) => dict,
        Value::Empty(_, Empty::None | Empty::Unit) => Dict::new(),
        other => Dict::from([(String::new(), other)]),
    }
}

/// The tag of values without a source.
pub(super) const NO_TAG: Tag = Tag::Default;
