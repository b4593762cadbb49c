//! From sources to settings; whatever is unknown or of the wrong type is an error that names the culprit.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use contracts::http::AllowedHosts;
use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use redaction::REDACTED;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ConfigError;
use super::nearest::nearest_setting;
use super::source::{ENVIRONMENT, FILE_SUFFIX, NO_TAG, Source, as_dict, variable};
use super::{CommandLine, Common, redact};
use crate::Definition;

/// The configuration of a service, from all its sources.
#[derive(Clone)]
pub struct Settings<C> {
    /// The sections that every service has.
    pub common: Common,
    /// The service's own section.
    pub own: C,
}

impl<C: Serialize> fmt::Debug for Settings<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.common, redact::debug(&self.own))
    }
}

impl<C: DeserializeOwned + Serialize + Default> Settings<C> {
    /// The settings of this process, from its command line and environment.
    ///
    /// # Errors
    /// When something is unknown, unreadable, of the wrong type, or makes no sense.
    pub fn load(definition: &Definition, command_line: &CommandLine) -> Result<Self, ConfigError> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_sources(definition, command_line, variables)
    }

    /// As [`Settings::load`], with the environment as an argument.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from_sources(
        definition: &Definition,
        command_line: &CommandLine,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let own = as_dict(Value::serialize(C::default())?);
        let merged = merged(definition, own, command_line, variables.collect())?;
        let settings = Self { common: Common::of(&merged)?, own: section(&merged, definition.name)? };
        settings.common.check()?;
        Ok(settings)
    }

    /// The settings as TOML that could be read again, except that secrets are hidden.
    ///
    /// # Errors
    /// When a setting can't be written as TOML.
    pub fn print(&self, name: &str) -> Result<String, toml::ser::Error> {
        let mut table = toml::Table::try_from(&self.common)?;
        table.insert(name.to_owned(), toml::Value::try_from(&self.own)?);
        let mut value = toml::Value::Table(table);
        redact::value(&mut value);
        toml::to_string_pretty(&value)
    }
}

/// One section. `figment` puts the section's name behind the key's in its errors; it belongs before it.
fn section<T: DeserializeOwned>(figment: &Figment, name: &str) -> Result<T, ConfigError> {
    figment.extract_inner_lossy(name).map_err(|mut error: figment::Error| {
        if error.path.len() > 1 && error.path.last().is_some_and(|last| last == name) {
            error.path.rotate_right(1);
        }
        match &error.kind {
            Kind::UnknownField(_, known) => unknown_setting(&error, known),
            kind => ConfigError::invalid(written(&error), kind),
        }
    })
}

/// The setting in which a wrong value stands: its variable, or its key and the file.
fn written(error: &figment::Error) -> String {
    let source = error.metadata.as_ref().map_or("", |metadata| &metadata.name);
    match error.path.split_first() {
        Some((section, keys)) if source == ENVIRONMENT && !keys.is_empty() => {
            variable(section, &keys.join("__"))
        }
        _ => format!("{} in {source}", error.path.join(".")),
    }
}

/// A key that its section lacks, as it was written: in the environment or in a file.
fn unknown_setting(error: &figment::Error, known: &[&'static str]) -> ConfigError {
    let (section, key) = error
        .path
        .split_last()
        .map_or(("", ""), |(key, section)| (section.last().map_or("", String::as_str), key.as_str()));
    let source = error.metadata.as_ref().map_or("", |metadata| &metadata.name);
    let is_variable = source == ENVIRONMENT;
    let written = |key: &str| if is_variable { variable(section, key) } else { format!("{section}.{key}") };
    let name = if is_variable { written(key) } else { format!("{} in {source}", written(key)) };
    let files: Vec<String> = known.iter().map(|key| format!("{key}{FILE_SUFFIX}")).collect();
    let candidates: Vec<&str> = known.iter().copied().chain(files.iter().map(String::as_str)).collect();
    let meant = match nearest_setting(key, &candidates) {
        Some(meant) => format!("the nearest is {}", written(meant)),
        None => format!("[{section}] has: {}", known.join(", ")),
    };
    ConfigError::UnknownSetting { name, meant }
}

/// All sources, the later ones over the earlier ones. The defaults of all sections also say what is known; `own` are those
/// of the service's section.
fn merged(
    definition: &Definition,
    own: Dict,
    command_line: &CommandLine,
    variables: Vec<(String, String)>,
) -> Result<Figment, ConfigError> {
    let mut defaults = as_dict(Value::serialize(Common::defaults(definition.name, definition.listen))?);
    defaults.insert(definition.name.to_owned(), Value::Dict(NO_TAG, own));
    let mut figment = Figment::from(Serialized::from(&defaults, Profile::Default));
    if let Some(path) = &command_line.config {
        figment = figment.merge(Source::file(path, &defaults)?);
    }
    Ok(figment.merge(Source::environment(variables.into_iter(), &defaults)?))
}

impl Common {
    fn of(merged: &Figment) -> Result<Self, ConfigError> {
        Ok(Self {
            http: section(merged, "http")?,
            database: section(merged, "database")?,
            kafka: section(merged, "kafka")?,
            registry: section(merged, "registry")?,
            topics: section(merged, "topics")?,
            outbox: section(merged, "outbox")?,
            consumer: section(merged, "consumer")?,
            telemetry: section(merged, "telemetry")?,
            lifecycle: section(merged, "lifecycle")?,
        })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let senseless = |key, reason| ConfigError::Senseless { key, value: REDACTED.to_owned(), reason };
        let address: SocketAddr = self.http.listen.parse().map_err(|_| {
            senseless("http.listen", "an address and a port are needed, such as 127.0.0.1:8080")
        })?;
        for (key, url) in [
            ("registry.url", self.registry.url.expose()),
            ("telemetry.otlp_endpoint", self.telemetry.otlp_endpoint.expose()),
        ] {
            if !url.is_empty() && !redaction::is_url(url) {
                return Err(senseless(
                    key,
                    "a URL is needed; in its password, each character other than a letter, a digit and -._~ has to be \
                     percent-encoded (/ is %2F, ? is %3F, # is %23)",
                ));
            }
        }
        let listen = |reason| {
            let value = self.http.listen.clone();
            ConfigError::Senseless { key: "http.listen", value, reason }
        };
        if !address.ip().is_loopback() && !self.http.allow_insecure {
            return Err(listen(
                "there is no authentication, so only loopback addresses are allowed; behind a network policy or proxy, \
                 set http.allow_insecure = true (TIDINGS_HTTP__ALLOW_INSECURE)",
            ));
        }
        AllowedHosts::try_new(&self.http.allowed_hosts).map_err(|_| ConfigError::Senseless {
            key: "http.allowed_hosts",
            value: self.http.allowed_hosts.clone(),
            reason: "host names are needed, separated by commas, without scheme, port or wildcard",
        })?;
        for (key, value) in [
            ("http.request_timeout_ms", self.http.request_timeout_ms),
            ("http.max_body_bytes", self.http.max_body_bytes as u64),
            ("http.max_in_flight", self.http.max_in_flight as u64),
            ("http.max_connections", self.http.max_connections as u64),
            ("http.header_timeout_ms", self.http.header_timeout_ms),
            ("database.work_timeout_ms", self.database.work_timeout_ms),
            ("database.request_timeout_ms", self.database.request_timeout_ms),
            ("topics.max_message_bytes", self.topics.max_message_bytes as u64),
            ("lifecycle.start_timeout_ms", self.lifecycle.start_timeout_ms),
            ("lifecycle.grace_ms", self.lifecycle.grace_ms),
        ] {
            if value == 0 {
                let reason = "must be above 0";
                return Err(ConfigError::Senseless { key, value: value.to_string(), reason });
            }
        }
        // One connection leads the relay, one listens, and consumers and requests need some too.
        if self.database.max_connections < 4 {
            return Err(ConfigError::Senseless {
                key: "database.max_connections",
                value: self.database.max_connections.to_string(),
                reason: "a service needs at least 4",
            });
        }
        Ok(())
    }
}
