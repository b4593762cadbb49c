//! The schema registry as this system needs it, over the Confluent API.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_versions, get_schema_by_id, get_schema_by_subject_and_version, perform_sr_call,
    post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RegisteredSchema, SchemaType, SrCall, SuppliedSchema,
};

use super::error::RegistryError;
use crate::http::client;

/// Bounds each call, also the fetch of a schema id not seen before.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// Where the schema registry is, and what this service may do there.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Base URL of the Confluent-compatible API; `user:password@` in it authenticates, and is printed nowhere.
    pub url: String,
    /// Register missing schemas at the start; otherwise only look them up, and refuse to start without them.
    pub auto_register_schemas: bool,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("url", &without_credentials(&self.url))
            .field("auto_register_schemas", &self.auto_register_schemas)
            .finish()
    }
}

/// A client of one registry.
pub(super) struct Registry {
    /// The URL for people's eyes.
    pub(super) name: String,
    url: String,
    settings: SrSettings,
    /// For the calls that schema_registry_converter does not know.
    http: reqwest::Client,
}

/// Why the registry did not give what it was asked for.
#[derive(Debug)]
pub(super) enum Fault {
    /// It says that there is no such subject, version or schema.
    NotFound,
    /// It refuses the schema.
    Refused(String),
    /// Everything else: unreachable, late, broken, or asked wrongly. Trying again may help.
    Unavailable(String),
}

impl Fault {
    pub(super) fn at(self, url: &str, subject: &str) -> RegistryError {
        let (url, subject) = (url.to_owned(), subject.to_owned());
        match self {
            Self::NotFound => RegistryError::Missing { url, subject },
            Self::Refused(detail) => RegistryError::Incompatible { url, subject, detail },
            Self::Unavailable(detail) => RegistryError::Unavailable { url, detail },
        }
    }
}

impl Registry {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, Fault> {
        let url = config.url.trim_end_matches('/').to_owned();
        let client = || {
            let client = client().timeout(CALL_TIMEOUT);
            if is_loopback(&url) { client.no_proxy() } else { client }
        };
        let settings = SrSettings::new_builder(url.clone()).set_timeout(CALL_TIMEOUT).build_with(client())?;
        let http = client().build().map_err(|error| Fault::Unavailable(chain(&error)))?;
        Ok(Self { name: without_credentials(&url), url, settings, http })
    }

    /// The id under which `schema` stands in `subject`, newly registered if need be.
    pub(super) async fn register(&self, subject: &str, schema: &str) -> Result<u32, Fault> {
        let schema = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        Ok(post_schema(&self.settings, subject.to_owned(), schema).await?.id)
    }

    /// The id under which `schema` stands in `subject`.
    pub(super) async fn look_up(&self, subject: &str, schema: &str) -> Result<u32, Fault> {
        let body = serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        let found = perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await?;
        found.id.ok_or_else(|| Fault::Unavailable(format!("the look-up of {subject} gave no schema id")))
    }

    /// The text of the schema with this id.
    pub(super) async fn schema(&self, id: u32) -> Result<String, Fault> {
        Ok(get_schema_by_id(id, &self.settings).await?.schema)
    }

    /// All versions of `subject`, oldest first; none when the subject does not exist.
    pub(super) async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>, Fault> {
        let mut numbers =
            match get_all_versions(&self.settings, subject.to_owned()).await.map_err(Fault::from) {
                Err(Fault::NotFound) => return Ok(Vec::new()),
                answer => answer?,
            };
        numbers.sort_unstable();
        let mut versions = Vec::with_capacity(numbers.len());
        for number in numbers {
            versions.push(get_schema_by_subject_and_version(&self.settings, subject, Some(number)).await?);
        }
        Ok(versions)
    }

    /// Asks the registry to keep `subject` fully compatible, unless a level is set for it already.
    pub(super) async fn guard(&self, subject: &str) -> Result<(), Fault> {
        let url = format!("{}/config/{subject}", self.url);
        let answer = self.http.get(&url).send().await?;
        if answer.status().is_success() {
            let chosen: serde_json::Value = answer.json().await?;
            let level =
                chosen.get("compatibilityLevel").and_then(serde_json::Value::as_str).unwrap_or_default();
            if level == COMPATIBILITY {
                return Ok(());
            }
            if level != "NONE" && !level.is_empty() {
                tracing::warn!(
                    subject,
                    level,
                    "the registry guards this subject by another compatibility level"
                );
                return Ok(());
            }
        }
        let level = serde_json::json!({ "compatibility": COMPATIBILITY });
        self.http.put(&url).json(&level).send().await?.error_for_status()?;
        Ok(())
    }
}

/// The URL without the user and password that may stand in it.
pub(super) fn without_credentials(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.has_authority() && redaction::is_url(url) => {
            // Both refuse only URLs that can't have credentials.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            redaction::url(parsed.as_str().trim_end_matches('/'))
        }
        Ok(_) | Err(_) => "(no URL)".to_owned(),
    }
}

/// A proxy of the environment is of no use for a registry on this machine.
fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    matches!(url.host_str(), Some("localhost" | "[::1]"))
        || url.host_str().is_some_and(|host| host.starts_with("127."))
}

impl From<SRCError> for Fault {
    fn from(error: SRCError) -> Self {
        let answer = error.source().and_then(|source| source.downcast_ref::<RawError>());
        match answer.map(|raw| (raw.error_code, &raw.message)) {
            // Confluent's codes for subject, version, schema. A bare 404 may as well be a wrong URL.
            Some((40_401..=40_403, _)) => Self::NotFound,
            Some((409 | 42_201..=42_299, message)) => Self::Refused(message.clone()),
            Some(_) | None => Self::Unavailable(match error.source() {
                Some(source) => format!("{}: {}", error.error, chain(source)),
                None => error.error,
            }),
        }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        Self::Unavailable(chain(&error))
    }
}

/// The error with its causes: reqwest's own text hides that a connection was refused.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_the_url_are_not_printed() {
        let url = "https://order:secret@registry.example:8443/apis/".to_owned();
        assert_eq!(without_credentials(&url), "https://registry.example:8443/apis");
        let printed = format!("{:?}", RegistryConfig { url, auto_register_schemas: true });
        assert!(!printed.contains("secret"), "{printed}");
        assert_eq!(without_credentials("order:secret"), "(no URL)");
        assert_eq!(without_credentials("https://order:12/secret@registry.example/apis"), "(no URL)");
    }
}
