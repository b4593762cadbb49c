//! The services in what is written by hand (manifests, alerts, scripts, the Makefile), compared with the one list.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use service_list::ServiceName;

use crate::Violation;

/// What a file has to say of the services. In it and in its path, `@name@`, `@NAME@` and `@port@` stand for those of each service.
struct Place {
    file: &'static str,
    /// Once for each service.
    each: &'static [&'static str],
    /// All names in their order: what stands before them, between them, and after them.
    lists: &'static [[&'static str; 3]],
}

const fn each(file: &'static str, each: &'static [&'static str]) -> Place {
    Place { file, each, lists: &[] }
}

const fn list(file: &'static str, lists: &'static [[&'static str; 3]]) -> Place {
    Place { file, each: &[], lists }
}

const SCRIPT: &[[&str; 3]] = &[["services=(", " ", ")"]];
const ALERT: &[[&str; 3]] = &[["up{job=~\"", "|", "\"}"]];
const EXPECTED: &[&str] = &["label_replace(vector(1), \"job\", \"@name@\", \"\", \"\")\n"];

/// All places.
const PLACES: &[Place] = &[
    list("Makefile", &[["PROGRAMS := ", " ", " tidings\n"]]),
    each("Cargo.toml", &["\n@name@ = { path = \"services/@name@\" }\n"]),
    each("services/@name@/src/main.rs", &["name: \"@name@\"", "listen: \"127.0.0.1:@port@\""]),
    // Images and Compose.
    Place {
        file: "Dockerfile",
        each: &["FROM runtime AS @name@\n", "COPY --from=builder /out/@name@ /usr/local/bin/@name@\n"],
        lists: &[["--package ", " --package ", " --package tidings "], ["for binary in ", " ", " tidings;"]],
    },
    each(
        "docker-compose.yml",
        &[
            "\n  @name@: &@name@\n",
            "target: @name@ }",
            "/tidings_@name@\n",
            "${@NAME@_PORT}:8080",
            "\n  @name@-2: { <<: *@name@,",
        ],
    ),
    each(".env", &["\n@NAME@_PORT=@port@\n", "\n@NAME@_PASSWORD="]),
    list("deploy/compose/postgres/databases.sh", &[["for service in ", " ", "; do"]]),
    each("deploy/compose/prometheus.yml", &["job_name: @name@\n", "names: [@name@, @name@-2]"]),
    // Observability.
    Place { file: "observability/prometheus/alerts.yml", each: EXPECTED, lists: ALERT },
    each("observability/grafana/dashboards/tidings-@name@.json", &["\"uid\": \"tidings-@name@\""]),
    // Kubernetes.
    each("k8s/base/kustomization.yaml", &["\n  - @name@\n"]),
    each("k8s/base/@name@/kustomization.yaml", &["newName: tidings/@name@\n"]),
    list("k8s/overlays/local/up", SCRIPT),
    each("k8s/overlays/local/postgres.yaml", &["name: @name@-database-app\n"]),
    each("k8s/overlays/local/secrets/kustomization.yaml", &["name: @name@-database-app\n"]),
    Place { file: "k8s/overlays/production/alerts.yaml", each: EXPECTED, lists: ALERT },
    each("k8s/overlays/production/kustomization.yaml", &["value: @name@-database-ca }", "value: @name@ }"]),
    each(
        "k8s/overlays/production/databases.yaml",
        &["\n  name: @name@-database\n", "database: tidings_@name@\n"],
    ),
    each("k8s/overlays/production/backups.yaml", &["\n  name: @name@-database\n"]),
    each("k8s/overlays/production/users.yaml", &["\n  name: @name@\n", "name: tidings.@name@ }"]),
    each(
        "k8s/overlays/production/network-databases.yaml",
        &["\n  name: @name@-to-database\n", "\n  name: @name@-database\n"],
    ),
    each("k8s/overlays/production/verify.yaml", &["path: @name@-ca.crt }"]),
    // Tests and documents.
    list("tests/acceptance/real-orders", SCRIPT),
    list("tests/compose/lib.sh", SCRIPT),
    list("tests/k8s/manifests.py", &[["SERVICES = (\"", "\", \"", "\")"]]),
    list("tests/k8s/rehearse", &[["for user in ", " ", " verify keda; do"]]),
    each("tests/k8s/flows/local.txt", &["\n@name@ -> registry:8080\n"]),
    each("tests/k8s/flows/production.txt", &["\n@name@ -> registry:8080\n"]),
    each("docs/scaling.md", &["| @name@ |"]),
    list("docs/metrics.md", &[["(`", "`, `", "`)"]]),
];

/// What lists the services of another time: decisions, changes, the previous release.
const OF_ANOTHER_TIME: [&str; 3] = ["docs/adr", "CHANGELOG.md", "tests/components/with-previous-release"];

/// What stands between names that are listed.
const SEPARATORS: [&str; 7] = [" ", ", ", "|", " | ", "\", \"", "`, `", " --package "];

/// A service as the places need it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    name: &'a str,
    port: u16,
}

/// The services of the list.
pub fn services() -> Vec<Listed<'static>> {
    let listed = |service: ServiceName| Listed { name: service.as_str(), port: service.default_port() };
    ServiceName::ALL.map(listed).to_vec()
}

impl Listed<'_> {
    fn put_into(self, template: &str) -> String {
        template
            .replace("@name@", self.name)
            .replace("@NAME@", &self.name.to_ascii_uppercase())
            .replace("@port@", &self.port.to_string())
    }
}

/// Every place below `root` that lacks one of `services`, a service that is not on the list, and lists in places that nobody
/// compares.
///
/// # Errors
/// When a folder can't be read.
pub fn violations(root: &Path, services: &[Listed<'_>]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for place in PLACES {
        for service in services {
            let file = service.put_into(place.file);
            let wanted = place.each.iter().map(|template| service.put_into(template));
            violations.extend(lacks(root, &file, wanted));
        }
        let names: Vec<&str> = services.iter().map(|service| service.name).collect();
        let wanted = place
            .lists
            .iter()
            .map(|[before, between, after]| format!("{before}{}{after}", names.join(between)));
        violations.extend(lacks(root, place.file, wanted));
    }
    let mut folders = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("services")).context("reading services/")? {
        folders.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    for folder in folders.iter().filter(|folder| services.iter().all(|service| service.name != *folder)) {
        let rule = "is not in the list of services (tools/service-list)";
        violations.push(Violation::new(&format!("services/{folder}"), 0, rule));
    }
    walk(root, root, services, &mut violations)?;
    violations.sort();
    Ok(violations)
}

/// What of `wanted` is not in the file.
fn lacks(root: &Path, file: &str, wanted: impl Iterator<Item = String>) -> Vec<Violation> {
    let mut wanted = wanted.peekable();
    if wanted.peek().is_none() {
        return Vec::new();
    }
    let Ok(text) = std::fs::read_to_string(root.join(file)) else {
        return vec![Violation::new(file, 0, "there is no such file, and each service has one")];
    };
    let missing = wanted.filter(|wanted| !text.contains(wanted));
    missing.map(|wanted| Violation::new(file, 0, format!("lacks {wanted:?}"))).collect()
}

/// Lists of all services in files that are no places.
fn walk(
    root: &Path,
    folder: &Path,
    services: &[Listed<'_>],
    violations: &mut Vec<Violation>,
) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        let is_place = PLACES.iter().any(|place| place.file == relative);
        if name == ".git" || name == "target" || is_place || OF_ANOTHER_TIME.contains(&relative.as_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &path, services, violations)?;
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            violations.extend(lists(&relative, &text, services));
        }
    }
    Ok(())
}

fn lists(file: &str, text: &str, services: &[Listed<'_>]) -> Vec<Violation> {
    let names: Vec<&str> = services.iter().map(|service| service.name).collect();
    // In Rust, variables with these names may stand side by side: the compiler counts those.
    let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
    let separators = SEPARATORS.into_iter().filter(|separator| !is_rust || separator.contains('"'));
    let lists: Vec<String> = separators.map(|separator| names.join(separator)).collect();
    let lines = text.lines().zip(1..);
    lines
        .filter(|(line, _)| lists.iter().any(|list| line.contains(list)))
        .map(|(_, number)| {
            let rule = "lists the services: take them from service-list, or add the file to PLACES in \
                        tests/architecture/src/listed.rs";
            Violation::new(file, number, rule)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources;

    fn found(services: &[Listed<'_>]) -> Vec<String> {
        let root = sources::root().canonicalize().unwrap();
        violations(&root, services).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_service_that_only_the_list_has_is_missed_in_every_place() {
        let mut services = services();
        services.push(Listed { name: "loyalty", port: 8085 });
        let found = found(&services);
        for place in PLACES {
            let file = place.file.replace("@name@", "loyalty");
            assert!(found.iter().any(|violation| violation.starts_with(&file)), "{file}: {found:#?}");
        }
    }

    #[test]
    fn a_service_that_the_list_lacks_is_found() {
        let mut services = services();
        let last = services.pop().unwrap();
        let found = found(&services);
        assert!(found.iter().any(|it| it.starts_with(&format!("services/{}:", last.name))), "{found:#?}");
        assert!(found.iter().any(|it| it.starts_with("Makefile")), "{found:#?}");
    }

    #[test]
    fn another_list_is_found() {
        let all: Vec<&str> = services().iter().map(|service| service.name).collect();
        let text = format!("a\nfor one in {}; do\n{}\n", all.join(" "), all[..4].join(" "));
        assert_eq!(lists("x.sh", &text, &services()).len(), 1);
        assert_eq!(lists("x.rs", &text, &services()).len(), 0);
        assert_eq!(lists("x.rs", &format!("[\"{}\"]", all.join("\", \"")), &services()).len(), 1);
    }
}
