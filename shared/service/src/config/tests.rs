//! No part of a password in any error of the configuration, in `--print-config`, or in `Debug`.

use std::io::Write as _;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CommandLine, Settings};
use crate::Definition;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    token: u32,
}

/// How much of a password is too much.
const PART: usize = 6;

/// Everything that is said about this configuration: what is wrong, or what is used.
fn said(toml: &str, variables: &[(String, String)]) -> String {
    let definition = Definition {
        name: "probe",
        listen: "127.0.0.1:8080",
        migrator: sqlx::migrate::Migrator::DEFAULT,
        publishes: &[],
        metrics: &[],
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let command_line = CommandLine { config: Some(file.path().to_owned()), ..CommandLine::default() };
    match Settings::<Own>::from_sources(&definition, &command_line, variables.iter().cloned()) {
        Ok(settings) => {
            let kafka = match settings.common.kafka.check() {
                Ok(()) => String::new(),
                Err(error) => format!("{error} {error:?}"),
            };
            let database = match crate::database::options("probe", &settings.common.database) {
                Ok(_) => String::new(),
                Err(error) => chain(error),
            };
            format!("{settings:?} {} {kafka} {database}", settings.print("probe").unwrap())
        }
        Err(error) => chain(error),
    }
}

fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    let shown = format!("{error:?}");
    format!("{shown} {:#}", anyhow::Error::new(error))
}

fn hidden(password: &str, toml: &str, variables: &[(&str, &str)]) -> Result<(), TestCaseError> {
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let shown = said(toml, &variables);
    for start in 0..=password.len() - PART {
        let part = &password[start..start + PART];
        prop_assert!(!shown.contains(part), "{toml} {variables:?}: {shown}");
    }
    Ok(())
}

fn password() -> impl Strategy<Value = String> {
    "[A-Za-z0-9/?#@:%&=+!~^$*()-]{12,24}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_part_of_a_password_in_a_url_is_shown_wherever_the_url_is_set(password in password()) {
        for url in [
            format!("postgres://u:{password}@db:5432/x"),
            format!("postgres://db/x?password={password}"),
            format!("postgres://db/x?sslmode={password}"),
            format!("postgres://db/x?pasword={password}"),
        ] {
            for name in [
                "DATABASE__URL",
                "DATABASE__URL_FILE",
                "DATABASE__MAX_CONNECTIONS",
                "DATABASE__MIGRATE",
                "DATABASE__ULR",
                "HTTP__LISTEN",
                "HTTP",
                "KAFKA__BOOTSTRAP_SERVERS",
                "KAFKA__CLIENT_ID",
                "KAFKA__PROPERTIES",
                "REGISTRY__URL",
                "TELEMETRY__OTLP_ENDPOINT",
                "TELEMETRY__OTLP_PROTOCOL",
                "TELEMETRY__LOG_FILTER",
                "TOPICS__PREFIX",
                "PROBE__TOKEN",
            ] {
                hidden(&password, "", &[(&format!("TIDINGS_{name}"), &url)])?;
                let (section, key) = name.split_once("__").unwrap_or((name, "x"));
                let toml = format!("[{}]\n{} = '{url}'", section.to_lowercase(), key.to_lowercase());
                hidden(&password, &toml, &[])?;
            }
        }
    }

    #[test]
    fn no_part_of_a_kafka_property_is_shown(password in password()) {
        for name in [
            "sasl.password",
            "sasl.pasword",
            "sasl.username",
            "sasl.mechanism",
            "security.protocol",
            "ssl.ca.location",
            "message.max.bytes",
            "socket.timeout.ms",
            "client.id",
            "pasword",
        ] {
            let variable = format!("TIDINGS_KAFKA__PROPERTIES__{}", name.replace('.', "_").to_uppercase());
            hidden(&password, "", &[(&variable, &password)])?;
            hidden(&password, "", &[(&format!("{variable}_FILE"), &password)])?;
            hidden(&password, &format!("[kafka.properties]\n'{name}' = '{password}'"), &[])?;
        }
    }

    #[test]
    fn no_part_of_a_line_that_is_not_toml_is_shown(password in password()) {
        for toml in [
            format!("[database]\nurl = \"postgres://u:{password}@db/x"),
            format!("[database]\nurl = postgres://u:{password}@db/x"),
            format!("[kafka.properties]\n'sasl.password' = {password}"),
            format!("[kafka.properties]\n'sasl.password' '{password}'"),
            format!("[database]\nurl = 'x'\nurl = '{password}'"),
            format!("[database]\nurl = ['{password}'"),
        ] {
            hidden(&password, &toml, &[])?;
        }
    }

    #[test]
    fn no_part_of_a_value_of_the_wrong_type_is_shown(password in password()) {
        for name in ["HTTP__LISTEN", "HTTP__MAX_IN_FLIGHT", "HTTP__ALLOW_INSECURE", "TELEMETRY__LOG_FORMAT", "PROBE__TOKEN", "KAFKA"] {
            hidden(&password, "", &[(&format!("TIDINGS_{name}"), &password)])?;
            hidden(&password, "", &[(&format!("TIDINGS_{name}"), &format!("['{password}']"))])?;
        }
    }
}
