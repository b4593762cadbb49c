//! docs/configuration.md: every setting, from the structures that hold them and their defaults.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;
use service::config::Common;

use crate::catalogue::SERVICES;
use crate::settings::{self, Kind, Setting};
use crate::wrap::wrapped;

const HEAD: &str = "\
<!-- Written by `make generate` from the structures that each section names; a test compares. -->

# Configuration

A service takes each setting from its default, then from a TOML file (`--config FILE`), then from the environment. The
later source wins. A section of this page is a section of the file, so `http.max_in_flight` is

```
[http]
max_in_flight = 256
```

and in the environment `TIDINGS_HTTP__MAX_IN_FLIGHT=256`, with two underscores between section and key.

A key that ends with `_file` (`_FILE` in the environment) names a file that holds the value, for example
`TIDINGS_DATABASE__URL_FILE=/run/secrets/database-url`. It works for every setting, and is the way to give secrets.

An unknown key, a value of the wrong type and an invalid value end the start with an error that names the setting. The
section of another service is ignored in the environment, so that services can share one. `order --print-config` prints
the configuration that would be used, without its secrets.
";

/// A section of the configuration.
struct Section {
    name: &'static str,
    /// What it is about.
    about: &'static str,
    /// The file with its structure.
    source: &'static str,
    structure: &'static str,
}

/// The sections that every service has.
const COMMON: [Section; 9] = [
    Section {
        name: "http",
        about: "The HTTP API of the service.",
        source: "shared/service/src/config.rs",
        structure: "HttpConfig",
    },
    Section {
        name: "database",
        about: "The service's own PostgreSQL database.",
        source: "shared/service/src/config.rs",
        structure: "DatabaseConfig",
    },
    Section {
        name: "kafka",
        about: "The brokers.",
        source: "shared/messaging/src/kafka/config.rs",
        structure: "KafkaConfig",
    },
    Section {
        name: "registry",
        about: "The schema registry, with Confluent's API.",
        source: "shared/service/src/config.rs",
        structure: "RegistrySection",
    },
    Section {
        name: "topics",
        about: "The topics of this deployment. All services of a deployment need the same values.",
        source: "shared/service/src/config.rs",
        structure: "TopicsConfig",
    },
    Section {
        name: "outbox",
        about: "The relay from the outbox to the broker. The defaults are meant to be kept.",
        source: "shared/outbox/src/relay/config.rs",
        structure: "RelayConfig",
    },
    Section {
        name: "consumer",
        about: "How events are applied.",
        source: "shared/inbox/src/config.rs",
        structure: "ConsumerConfig",
    },
    Section {
        name: "telemetry",
        about: "Logs and traces. The trace context always reaches the headers of records; spans are exported only when \
                `otlp_endpoint` is set.",
        source: "shared/telemetry/src/config.rs",
        structure: "TelemetryConfig",
    },
    Section {
        name: "lifecycle",
        about: "The start and the end of the process.",
        source: "shared/service/src/config.rs",
        structure: "LifecycleConfig",
    },
];

/// The section that only the service of its name has: its source and its defaults.
fn own(service: &str) -> anyhow::Result<(String, Value)> {
    let defaults = match service {
        "order" => serde_json::to_value(order::config::Config::default()),
        "inventory" => serde_json::to_value(inventory::config::Config::default()),
        "payment" => serde_json::to_value(payment::config::Config::default()),
        "notification" => serde_json::to_value(notification::config::Config::default()),
        "analytics" => serde_json::to_value(analytics::config::Config::default()),
        other => anyhow::bail!("{other} has settings that no page describes yet"),
    };
    Ok((format!("services/{service}/src/config.rs"), defaults?))
}

/// The whole page.
///
/// # Errors
/// When a setting is not described, or a section of the services is missing here.
pub(crate) fn render(root: &Path) -> anyhow::Result<String> {
    let read = |source: &str| {
        std::fs::read_to_string(root.join(source)).with_context(|| format!("reading {source}"))
    };
    let mut page = HEAD.to_owned();
    let common = serde_json::to_value(Common::defaults("SERVICE", "127.0.0.1:PORT"))?;
    let known: BTreeSet<&str> = COMMON.iter().map(|section| section.name).collect();
    let there: BTreeSet<&str> = common.as_object().context("sections")?.keys().map(String::as_str).collect();
    ensure!(known == there, "the services have the sections {there:?}, this page {known:?}");
    for section in &COMMON {
        let settings = settings::of(&read(section.source)?, section.source, section.structure)?;
        page += &rendered(section.name, section.about, section.source, &settings, &common[section.name])?;
        if section.name == "http" {
            page += &listen_addresses(&read)?;
        }
    }
    for service in SERVICES {
        let (source, defaults) = own(service)?;
        let settings = settings::of(&read(&source)?, &source, "Config")?;
        let about = if settings.is_empty() {
            format!("{service} has no settings of its own.")
        } else {
            format!("Only {service} has these.")
        };
        page += &rendered(service, &about, &source, &settings, &defaults)?;
    }
    Ok(page)
}

/// Where each service listens by default: the word PORT of the setting's default.
fn listen_addresses(read: &dyn Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<String> {
    let mut ports = Vec::new();
    for service in SERVICES {
        let source = format!("services/{service}/src/main.rs");
        let address = settings::literal(&read(&source)?, &source, "Definition", "listen")?;
        let port = address.strip_prefix("127.0.0.1:").with_context(|| format!("{source}: {address}"))?;
        ports.push(format!("{service} {port}"));
    }
    Ok(format!("\nPORT is by default: {}.\n", ports.join(", ")))
}

/// A section: what it is about, then each setting with its type, default and meaning.
fn rendered(
    name: &str,
    about: &str,
    source: &str,
    settings: &[Setting],
    defaults: &Value,
) -> anyhow::Result<String> {
    let mut text =
        format!("\n## `{name}`\n\n{}\n\nStructure: [`{source}`](../{source}).\n", wrapped(about, 0));
    if !settings.is_empty() {
        text.push('\n');
    }
    let described: BTreeSet<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
    let has_all = defaults.as_object().into_iter().flatten().all(|(key, _)| described.contains(key.as_str()));
    ensure!(has_all, "{source}: a default of [{name}] belongs to no setting that is described");
    for setting in settings {
        let key = &setting.key;
        let variable = format!("TIDINGS_{}__{}", name.to_uppercase(), key.to_uppercase());
        let variable = if setting.kind == Kind::Table { format!("{variable}__NAME") } else { variable };
        let default = default(setting, defaults.get(key));
        let entry = format!("- **`{name}.{key}`** ({}), `{variable}`, default {default}", unit(setting));
        let _ = writeln!(text, "{}\\\n  {}", wrapped(&entry, 2), wrapped(&setting.meaning, 2));
    }
    Ok(text)
}

fn default(setting: &Setting, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Object(table)) if table.is_empty() => "empty".to_owned(),
        Some(other) => {
            let larger = other.as_u64().and_then(|number| in_larger_unit(&setting.key, number));
            format!("`{other}`{}", larger.map(|larger| format!(" ({larger})")).unwrap_or_default())
        }
    }
}

/// The number in the largest unit of which it is a multiple.
fn in_larger_unit(key: &str, number: u64) -> Option<String> {
    let units: &[(u64, &str)] = match key.rsplit('_').next()? {
        "ms" => &[(24 * 3_600_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")],
        "bytes" => &[(1 << 20, "MiB"), (1 << 10, "KiB")],
        _ => &[],
    };
    let (size, unit) = units.iter().find(|(size, _)| number >= *size && number.is_multiple_of(*size))?;
    Some(format!("{} {unit}", number / size))
}

/// The unit that a setting's name ends with, or the kind of its values.
fn unit(setting: &Setting) -> String {
    let last = setting.key.rsplit('_').next().unwrap_or_default();
    match &setting.kind {
        Kind::Flag => "true or false".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Table => "table".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::Number => match last {
            "ms" => "milliseconds".to_owned(),
            "ratio" => "0 to 1".to_owned(),
            "bytes" | "days" | "records" | "messages" | "connections" | "attempts" | "waiters"
            | "streams" => last.to_owned(),
            _ => "number".to_owned(),
        },
    }
}
