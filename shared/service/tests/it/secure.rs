//! Encrypted and authenticated: the settings of TLS, SCRAM and certificates reach PostgreSQL's and Kafka's clients, and
//! no secret is printed on the way.

use std::path::Path;
use std::process::Output;

use contracts::clock::new_id;
use sqlx::{Connection as _, Executor as _, PgConnection};
use testkit::broker::unique;
use testkit::postgres::{Certificates, postgres_with_tls};
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Process, Stack, WAIT_TIMEOUT};

/// Both outputs of a command.
fn output_text(output: &Output) -> String {
    let streams = [output.stdout.as_slice(), output.stderr.as_slice()];
    streams.map(|stream| String::from_utf8_lossy(stream).into_owned()).concat()
}

/// A confirmation goes through the database, the broker and back.
async fn works(service: &Process) {
    let id: Uuid = new_id();
    assert_eq!(service.post(&format!("/confirm/{id}"), "").await.0, 202);
    eventually("the confirmation is applied", WAIT_TIMEOUT, async || {
        let metrics = service.get("/metrics").await.1;
        let applied = metrics.as_str().unwrap().lines().any(|line| {
            line.starts_with("inbox_records_total{")
                && line.contains("outcome=\"applied\"")
                && !line.ends_with(" 0")
        });
        if applied { Ok(()) } else { Err(service.log()) }
    })
    .await;
}

#[tokio::test]
async fn postgresql_is_spoken_to_with_tls_and_only_with_a_certificate_of_the_named_authority() {
    let stack = Stack::start().await;
    let (certificates, strangers) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    // It refuses who doesn't come encrypted and with a password.
    let rules = "hostssl all all 127.0.0.1/32 scram-sha-256";
    let server = postgres_with_tls(&certificates, rules).await.unwrap();
    let url = |mode: &str, certificates: &Certificates| {
        let authority = certificates.path("ca.pem");
        format!("{}?sslmode={mode}&sslrootcert={}", server.url("probe"), authority.display())
    };
    let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
    admin.execute("CREATE DATABASE probe").await.unwrap();
    let password = server.url("probe").split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();

    let verified = url("verify-full", &certificates);
    let mut service = stack.service(&[("TIDINGS_DATABASE__URL", &verified)]).await;
    works(&service).await;
    service.signal("-TERM");
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
    assert!(!service.log().contains(&password), "the password is printed");

    let printed = stack.run("print", &[("TIDINGS_DATABASE__URL", &verified)]);
    assert!(output_text(&printed).contains("sslmode=verify-full"), "{}", output_text(&printed));
    assert!(!output_text(&printed).contains(&password), "the password is printed");

    let plain = url("disable", &certificates);
    let stranger = url("verify-full", &strangers);
    for refused in [plain, stranger] {
        let settings =
            [("TIDINGS_DATABASE__URL", refused.as_str()), ("TIDINGS_LIFECYCLE__START_TIMEOUT_MS", "2000")];
        let output = stack.run("run", &settings);
        assert_eq!(output.status.code(), Some(1), "{refused}: {}", output_text(&output));
        assert!(!output_text(&output).contains(&password), "the password is printed");
    }
}

/// The secure listener of the run's Kafka: address, authority, the file of the password.
#[expect(clippy::disallowed_methods, reason = "the tests' own switch, no service's configuration")]
fn secure_kafka() -> [String; 3] {
    ["SECURE", "CA", "PASSWORD"].map(|part| {
        let name = format!("TIDINGS_TEST_KAFKA_{part}");
        std::env::var(&name).unwrap_or_else(|_| panic!("{name} is missing: make test-kafka sets it"))
    })
}

#[tokio::test]
#[ignore = "needs a Kafka: make test-kafka"]
async fn kafka_is_spoken_to_with_tls_and_scram() {
    let [address, authority, password_file] = secure_kafka();
    let stack = Stack::start().await;
    let password = std::fs::read_to_string(&password_file).unwrap().trim().to_owned();
    let prefix = unique("secure");
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "hunter2").unwrap();
    let wrong: &Path = wrong.path();
    let settings = |password_file, authority| {
        let mut settings = vec![
            ("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", address.as_str()),
            ("TIDINGS_TOPICS__PREFIX", prefix.as_str()),
            ("TIDINGS_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL"),
            ("TIDINGS_KAFKA__PROPERTIES__SASL_MECHANISM", "SCRAM-SHA-512"),
            ("TIDINGS_KAFKA__PROPERTIES__SASL_USERNAME", "tidings"),
            ("TIDINGS_KAFKA__PROPERTIES__SASL_PASSWORD_FILE", password_file),
        ];
        settings.extend(authority);
        settings
    };
    let trusted = Some(("TIDINGS_KAFKA__PROPERTIES__SSL_CA_LOCATION", authority.as_str()));

    let good = settings(password_file.as_str(), trusted);
    let mut service = stack.service(&good).await;
    works(&service).await;
    service.signal("-TERM");
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
    let printed = stack.run("print", &good);
    assert!(output_text(&printed).contains("SCRAM-SHA-512"), "{}", output_text(&printed));
    for text in [service.log(), output_text(&printed)] {
        assert!(!text.contains(&password), "the password is printed: {text}");
    }

    let plain = vec![
        ("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", address.as_str()),
        ("TIDINGS_TOPICS__PREFIX", prefix.as_str()),
    ];
    for mut refused in
        [plain, settings(wrong.to_str().unwrap(), trusted), settings(password_file.as_str(), None)]
    {
        refused.push(("TIDINGS_LIFECYCLE__START_TIMEOUT_MS", "10000"));
        let output = stack.run("run", &refused);
        let output_text = output_text(&output);
        assert_eq!(output.status.code(), Some(1), "{refused:?}: {output_text}");
        assert!(output_text.contains("kafka.bootstrap_servers"), "{output_text}");
        assert!(
            !output_text.contains(&password) && !output_text.contains("hunter2"),
            "a password is printed: {output_text}"
        );
        println!("{output_text}");
    }
}
