//! What every container of docker-compose.yml is held to: bounded memory, no capabilities, no new privileges, no known password.

use anyhow::{Context, ensure};
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use crate::Violation;

/// The file that this is about.
pub const FILE: &str = "docker-compose.yml";

/// The capabilities that a container may have again: those with which an entry point gives its volume to its user, and becomes it.
const STARTED_AS_ROOT: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];

/// Images whose administrator has a password that everybody knows, with the variables by which there is none.
const KNOWN_PASSWORDS: [(&str, [(&str, &str); 3]); 1] = [(
    "grafana/grafana:",
    [
        ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "true"),
        ("GF_AUTH_BASIC_ENABLED", "false"),
        ("GF_AUTH_DISABLE_LOGIN_FORM", "true"),
    ],
)];

/// Every container of the Compose file `text` that breaks a rule.
///
/// # Errors
/// When it is no Compose file.
pub fn violations(text: &str) -> anyhow::Result<Vec<Violation>> {
    let documents = YamlLoader::load_from_str(text)?;
    let services = documents.first().and_then(|file| file["services"].as_hash()).context("no services")?;
    ensure!(!services.is_empty(), "no services");
    let mut violations = Vec::new();
    for (name, service) in services {
        let name = name.as_str().context("a service without a name")?;
        let service = service.as_hash().with_context(|| format!("{name} is no map"))?;
        let rules = [
            (bounds_its_memory(service), "mem_limit bounds its memory"),
            (
                drops_capabilities(service),
                "cap_drop is [ALL], and cap_add what an entry point needs to leave root",
            ),
            (gains_no_privileges(service), "security_opt has no-new-privileges:true"),
            (
                takes_no_known_password(service),
                "its administrator's password is known: make no such account, take no password",
            ),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds);
        violations.extend(broken.map(|(_, rule)| Violation::new(FILE, 0, format!("{name}: {rule}"))));
    }
    Ok(violations)
}

/// The value at `key`, by itself or from the maps that are merged.
fn get<'a>(service: &'a Hash, key: &str) -> Option<&'a Yaml> {
    let own = service.get(&Yaml::String(key.to_owned()));
    own.or_else(|| get(service.get(&Yaml::String("<<".to_owned()))?.as_hash()?, key))
}

/// The texts of the list at `key`.
fn list<'a>(service: &'a Hash, key: &str) -> Vec<&'a str> {
    let values = get(service, key).and_then(Yaml::as_vec).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Yaml::as_str).collect()
}

fn bounds_its_memory(service: &Hash) -> bool {
    get(service, "mem_limit").is_some_and(|limit| limit.as_str().is_some_and(|limit| limit.ends_with('m')))
}

fn drops_capabilities(service: &Hash) -> bool {
    list(service, "cap_drop") == ["ALL"]
        && list(service, "cap_add").iter().all(|added| STARTED_AS_ROOT.contains(added))
}

fn gains_no_privileges(service: &Hash) -> bool {
    list(service, "security_opt").contains(&"no-new-privileges:true")
}

fn takes_no_known_password(service: &Hash) -> bool {
    let image = get(service, "image").and_then(Yaml::as_str).unwrap_or_default();
    let Some((_, variables)) = KNOWN_PASSWORDS.iter().find(|(of, _)| image.starts_with(of)) else {
        return true;
    };
    let environment = get(service, "environment").and_then(Yaml::as_hash);
    variables.iter().all(|(variable, value)| {
        environment.and_then(|environment| get(environment, variable)?.as_str()) == Some(*value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "
x-contained: &contained
  mem_limit: 64m
  cap_drop: [ALL]
  security_opt: [no-new-privileges:true]
services:
  one:
    <<: *contained
    image: a/b:1
";

    fn found(changed: &str, into: &str) -> Vec<String> {
        let text = SOUND.replace(changed, into);
        violations(&text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_rule_is_seen_broken() {
        assert_eq!(found("", ""), Vec::<String>::new());
        for (changed, into, rule) in [
            ("  mem_limit: 64m\n", "", "mem_limit"),
            ("[ALL]", "[NET_RAW]", "cap_drop"),
            ("[ALL]", "[ALL]\n  cap_add: [SYS_ADMIN]", "cap_add"),
            ("no-new-privileges:true", "seccomp:unconfined", "no-new-privileges"),
            ("a/b:1", "grafana/grafana:1", "password"),
            ("a/b:1", "grafana/grafana:1\n    environment: { GF_AUTH_BASIC_ENABLED: \"false\" }", "password"),
        ] {
            let found = found(changed, into);
            assert!(found.len() == 1 && found[0].contains(rule), "{into}: {found:?}");
        }
    }
}
