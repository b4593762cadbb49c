//! Sources and their order, and what is refused.

use std::io::Write;

use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    token: String,
    rate: u32,
    note: Option<String>,
}

fn definition() -> Definition {
    Definition {
        name: "probe",
        listen: "127.0.0.1:8080",
        migrator: sqlx::migrate::Migrator::DEFAULT,
        publishes: &[],
        metrics: &[],
    }
}

fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Settings<Own>, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let command_line = CommandLine { config: Some(file.path().to_owned()), ..CommandLine::default() };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_sources(&definition(), &command_line, variables)
}

fn refused(toml: &str, variables: &[(&str, &str)]) -> String {
    load(toml, variables).unwrap_err().to_string()
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let toml =
        "[http]\nmax_in_flight = 7\nmax_body_bytes = 8\n[kafka.properties]\n'sasl.mechanism' = 'PLAIN'";
    let settings = load(toml, &[("TIDINGS_HTTP__MAX_IN_FLIGHT", "9"), ("PATH", "/bin")]).unwrap();
    assert_eq!(settings.common.http.max_in_flight, 9);
    assert_eq!(settings.common.http.max_body_bytes, 8);
    assert_eq!(settings.common.http.listen, "127.0.0.1:8080");
    assert_eq!(settings.common.database.url.expose(), "postgres://127.0.0.1:5432/tidings_probe");
    assert_eq!(settings.common.kafka.properties["sasl.mechanism"], "PLAIN");
}

#[test]
fn a_setting_means_what_its_type_says_and_digits_stay_text() {
    let variables =
        [("TIDINGS_PROBE__TOKEN", "0123"), ("TIDINGS_PROBE__RATE", "5"), ("TIDINGS_PROBE__NOTE", "42")];
    let own = load("", &variables).unwrap().own;
    assert_eq!((own.token.as_str(), own.rate, own.note.as_deref()), ("0123", 5, Some("42")));
    let settings = load("", &[("TIDINGS_REGISTRY__AUTO_REGISTER_SCHEMAS", "false")]).unwrap();
    assert!(!settings.common.registry.auto_register_schemas);
}

#[test]
fn settings_of_the_release_before_are_taken_and_unknown_ones_are_not() {
    let former = "[database]\nacquire_timeout_ms = 1\nstatement_timeout_ms = 2\nlock_timeout_ms = 3";
    let settings =
        load(former, &[("TIDINGS_DATABASE__IDLE_IN_TRANSACTION_SESSION_TIMEOUT_MS", "4")]).unwrap();
    assert!(!settings.print("probe").unwrap().contains("acquire_timeout_ms"));
    assert!(refused("[database]\npatience_ms = 5", &[]).contains("patience_ms"));
}

#[test]
fn a_request_hears_what_became_of_its_transaction() {
    let bounds = |toml: &str| load(toml, &[]).unwrap().common.database_bounds();
    let request = |toml: &str| bounds(toml).request.as_millis();
    assert_eq!((request(""), bounds("").work.as_millis()), (6_000, 12_000));
    assert_eq!(request("[http]\nrequest_timeout_ms = 1000"), 750);
    assert_eq!(request("[http]\nrequest_timeout_ms = 60000\n[database]\nrequest_timeout_ms = 9000"), 9_000);
}

#[test]
fn only_a_word_opens_a_service_to_other_machines() {
    let open = |listen: &str, word: &str| {
        load("", &[("TIDINGS_HTTP__LISTEN", listen), ("TIDINGS_HTTP__ALLOW_INSECURE", word)])
    };
    assert!(open("0.0.0.0:8080", "true").is_ok());
    assert!(open("[::]:8080", "false").is_err());
    assert!(open("[::1]:8080", "false").is_ok());
}

#[test]
fn librdkafkas_properties_fit_into_variables_and_their_secrets_into_files() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "hunter2").unwrap();
    let settings = load(
        "[kafka.properties]\n'security.protocol' = 'SSL'\n'ssl.ca.location' = '/ca.pem'",
        &[
            ("TIDINGS_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL"),
            ("TIDINGS_KAFKA__PROPERTIES__SASL_PASSWORD_FILE", secret.path().to_str().unwrap()),
        ],
    )
    .unwrap();
    let properties = &settings.common.kafka.properties;
    assert_eq!(properties["security.protocol"], "SASL_SSL");
    assert_eq!(properties["ssl.ca.location"], "/ca.pem");
    assert_eq!(properties["sasl.password"], "hunter2");
    let shown = format!("{settings:?}{}", settings.print("probe").unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn secrets_can_be_read_from_files() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "postgres://u:hunter2@db/x").unwrap();
    let path = secret.path().to_str().unwrap();
    for settings in [
        load("", &[("TIDINGS_DATABASE__URL_FILE", path)]).unwrap(),
        load(&format!("[database]\nurl_file = '{path}'"), &[]).unwrap(),
    ] {
        assert_eq!(settings.common.database.url.expose(), "postgres://u:hunter2@db/x");
        let shown = format!("{settings:?}{}", settings.print("probe").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let both =
        refused("", &[("TIDINGS_DATABASE__URL_FILE", path), ("TIDINGS_DATABASE__URL", "postgres://x/y")]);
    assert!(both.contains("url_file"), "{both}");
    let missing = secret.path().with_extension("missing").display().to_string();
    let unreadable = refused("", &[("TIDINGS_PROBE__TOKEN_FILE", &missing)]);
    assert!(unreadable.contains("token_file") && unreadable.contains(&missing), "{unreadable}");
}

#[test]
fn whatever_is_unknown_or_wrong_is_named() {
    for (toml, variables, expected) in [
        ("[htttp]\nlisten = ''", [("", "")], "[htttp]"),
        ("[http]\nlistne = ''", [("", "")], "listne"),
        ("[http]\nmax_in_flight = 'many'", [("", "")], "max_in_flight"),
        ("[http", [("", "")], "line 1, column"),
        ("", [("TIDINGS_HTTP__LISTNE", "x")], "listne"),
        ("", [("TIDINGS_HTTP_LISTEN", "x")], "TIDINGS_HTTP__LISTEN"),
        ("", [("TIDINGS_HTTP__MAX_IN_FLIGHT", "many")], "TIDINGS_HTTP__MAX_IN_FLIGHT"),
        ("", [("TIDINGS_HTTP__MAX_IN_FLIGHT", "0")], "http.max_in_flight"),
        ("", [("TIDINGS_HTTP__ALLOWED_HOSTS", "http://a")], "http.allowed_hosts"),
        ("", [("TIDINGS_HTTP__LISTEN", "localhost")], "http.listen"),
        ("", [("TIDINGS_HTTP__LISTEN", "0.0.0.0:8080")], "http.allow_insecure"),
        ("", [("TIDINGS_HTTP__LISTEN", "192.0.2.1:8080")], "http.allow_insecure"),
        ("", [("TIDINGS_DATABASE__MAX_CONNECTIONS", "1")], "database.max_connections"),
        ("", [("TIDINGS_PROBE__COLOUR", "red")], "colour; [probe] has: token, rate, note"),
        ("[http]\nlistne = ''", [("", "")], "the nearest is http.listen"),
        ("[htttp]\nlisten = ''", [("", "")], "the nearest is [http]"),
        ("[colours]\nred = 1", [("", "")], "there are: consumer, database"),
        ("", [("TIDINGS_HTTP__LISTNE", "x")], "TIDINGS_HTTP__LISTNE; the nearest is TIDINGS_HTTP__LISTEN"),
        ("", [("TIDINGS_DATABSE__URL", "x")], "TIDINGS_DATABSE__URL; the nearest is TIDINGS_DATABASE__URL"),
        ("", [("TIDINGS_DATABSE__ULR", "x")], "the nearest is TIDINGS_DATABASE__URL"),
        ("", [("TIDINGS_DATABSE__URL_FILE", "x")], "the nearest is TIDINGS_DATABASE__URL_FILE"),
        ("", [("TIDINGS_DATABASE__URL_FIEL", "x")], "the nearest is TIDINGS_DATABASE__URL_FILE"),
        ("", [("TIDINGS_KAKFA__PROPERTIES__SASL_PASSWORD", "x")], "TIDINGS_KAFKA__PROPERTIES__SASL_PASSWORD"),
    ] {
        let message = refused(toml, &variables);
        assert!(message.to_lowercase().contains(&expected.to_lowercase()), "{toml} {variables:?}: {message}");
    }
}

#[test]
fn what_is_wrong_is_said_once() {
    for variable in ["TIDINGS_HTTP__LISTNE", "TIDINGS_HTTP__MAX_IN_FLIGHT", "TIDINGS_DATABSE__URL"] {
        let error = anyhow::Error::from(load("", &[(variable, "many")]).unwrap_err());
        let expected = format!("{error:#}");
        assert_eq!(expected.matches(variable).count(), 1, "{expected}");
    }
}

#[test]
fn other_services_sections_in_a_shared_environment_are_left_alone() {
    assert!(load("", &[("TIDINGS_PAYMENT__PROVIDER", "x"), ("TIDINGS_TEST_POSTGRES", "x")]).is_ok());
}
