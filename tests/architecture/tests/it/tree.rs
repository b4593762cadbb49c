//! Dependencies, layers and the looks of files.

use architecture::{
    circles, compose, decisions, dependencies, diagram, doors, layers, libraries, links, listed, names,
    printed, profiles, prose, readmes, requests, shape, sources, sums, targets,
};
use service_list::ServiceName;

#[test]
fn services_never_depend_on_services_and_shared_crates_on_nothing_above_them() {
    let violations = dependencies::violations(&sources::manifests().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn libraries_know_nothing_of_the_system() {
    let violations =
        libraries::violations(&sources::manifests().unwrap(), &sources::rust_files().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn containers_are_bounded_and_have_no_rights_that_they_do_not_need() {
    let text = std::fs::read_to_string(sources::root().join(compose::FILE)).unwrap();
    let violations = compose::violations(&text).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_system_on_the_libraries_alone_has_the_workspaces_versions() {
    let read = |name: &str| std::fs::read_to_string(sources::root().join(name)).unwrap();
    let other = libraries::other_versions(&read("Cargo.lock"), &read("tests/outside/Cargo.lock")).unwrap();
    assert!(other.is_empty(), "`cargo update --precise` in tests/outside: {other:#?}");
}

#[test]
fn dependencies_point_inward_and_files_look_like_their_neighbours() {
    let sources = sources::rust_files().unwrap();
    let violations: Vec<String> = sources
        .iter()
        .flat_map(|source| layers::violations(source).unwrap())
        .map(|violation| violation.to_string())
        .collect();
    for (lines, path) in layers::long_files(&sources) {
        println!("{lines} lines: {path}");
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn services_have_one_shape() {
    let violations = shape::violations(&sources::rust_files().unwrap(), &ServiceName::NAMES).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn no_files_of_a_crate_import_each_other() {
    let violations: Vec<String> = circles::violations(&sources::rust_files().unwrap())
        .unwrap()
        .into_iter()
        .map(|violation| violation.to_string())
        .collect();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_test_has_a_target_that_runs_it() {
    let violations =
        targets::violations(&sources::manifests().unwrap(), &sources::rust_files().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_crate_of_the_workspace_is_built_unoptimised() {
    let workspace = std::fs::read_to_string(sources::root().join("Cargo.toml")).unwrap();
    let violations = profiles::violations(&workspace, &sources::manifests().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn sums_of_money_and_units_never_become_other_numbers() {
    let workspace = std::fs::read_to_string(sources::root().join("Cargo.toml")).unwrap();
    let violations = sums::violations(&workspace, &sources::rust_files().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn names_of_before_are_nowhere() {
    let violations = names::violations(&sources::root().canonicalize().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_service_of_the_list_is_in_every_manifest_alert_script_and_dashboard() {
    let root = sources::root().canonicalize().unwrap();
    let violations = listed::violations(&root, &listed::services()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_wait_for_a_foreign_system_has_a_bound_and_stands_in_the_architecture() {
    let violations = doors::violations(&sources::rust_files().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
    let architecture = std::fs::read_to_string(sources::root().join("ARCHITECTURE.md")).unwrap();
    let table = doors::table();
    assert!(architecture.contains(&table), "ARCHITECTURE.md lacks this table:\n{table}");
}

#[test]
fn no_transaction_is_reachable_from_a_connections_future() {
    let violations = requests::violations(&sources::rust_files().unwrap()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn each_folder_of_tests_says_what_it_proves_and_how_to_run_it() {
    let violations = readmes::violations(&sources::root()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_index_of_decisions_says_what_the_pages_say() {
    let violations = decisions::violations(&sources::root()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let violations = links::violations(&sources::root()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_picture_of_the_system_is_rendered_from_its_source() {
    let read = |name| std::fs::read_to_string(sources::root().join("docs").join(name)).unwrap();
    let differences = diagram::differences(&read("system.dot"), &read("system.svg"));
    assert!(differences.is_empty(), "run `make docs/system.svg`: {differences:#?}");
}

#[test]
fn pages_have_one_width_and_short_cells() {
    let violations = prose::violations(&sources::root()).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_first_consumer_is_printed_as_it_is_tested() {
    let read = |name: &str| std::fs::read_to_string(sources::root().join(name)).unwrap();
    let page = read("docs/first-consumer.md");
    let code =
        read("tests/system/examples/loyalty/main.rs").replace("examples/loyalty/migrations", "./migrations");
    assert_eq!(printed::blocks(&page, "rust"), printed::lines(&code));
    let tables = read("tests/system/examples/loyalty/migrations/0001_loyalty.sql");
    assert_eq!(printed::blocks(&page, "sql"), printed::lines(&tables));
}
