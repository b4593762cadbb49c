//! Start, work, stop, start again; and refusing to start.

use std::time::{Duration, Instant};

use contracts::clock::new_id;
use sqlx::{Connection, PgConnection};
use testkit::exposition::Exposition;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Process, Stack, WAIT_TIMEOUT, client};

pub(crate) async fn orders(stack: &Stack, table: &'static str) -> Vec<Uuid> {
    let query = match table {
        "confirmed" => sqlx::query_scalar("SELECT order_id FROM confirmed ORDER BY order_id"),
        _ => sqlx::query_scalar("SELECT order_id FROM applied ORDER BY order_id"),
    };
    query.fetch_all(stack.database.pool()).await.unwrap()
}

/// Waits until a statement of a service that looks like this is at work.
pub(crate) async fn until_at_work(stack: &Stack, statement: &str) {
    eventually("the statement is at work", WAIT_TIMEOUT, async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
             AND query LIKE $1 AND pid <> pg_backend_pid()",
        )
        .bind(statement)
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
        if open > 0 { Ok(()) } else { Err(open) }
    })
    .await;
}

/// Waits until this holds of a service's health.
pub(crate) async fn until_measured(service: &Process, metric: &str, holds: fn(f64) -> bool) {
    eventually(metric, WAIT_TIMEOUT, async || {
        let (_, exposed) = service.get("/metrics").await;
        let exposed = Exposition::parse(exposed.as_str().unwrap()).unwrap();
        match exposed.sum(metric, &[]) {
            Some(value) if holds(value) => Ok(()),
            value => Err(value),
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_request_committed_is_relayed_and_applied_and_the_service_ends_cleanly() {
    let stack = Stack::start().await;
    let mut service = stack.service(&[]).await;
    let mut placed: Vec<Uuid> = (0..20).map(|_| new_id()).collect();
    for id in &placed {
        assert_eq!(service.post(&format!("/confirm/{id}"), "").await.0, 202);
    }
    placed.sort();
    eventually("every confirmation is applied", WAIT_TIMEOUT, async || {
        let applied = orders(&stack, "applied").await;
        if applied == placed { Ok(()) } else { Err(applied.len()) }
    })
    .await;
    let metrics = service.get("/metrics").await.1.to_string();
    for name in
        ["http_requests_total", "http_request_duration_seconds_bucket", "process_resident_memory_bytes"]
    {
        assert!(metrics.contains(name), "{name} is missing");
    }
    service.signal("-TERM");
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
    assert!(service.log().contains("has stopped"), "{}", service.log());
}

#[tokio::test]
async fn a_service_starts_although_a_partition_has_no_leader() {
    let stack = Stack::start().await;
    stack.broker.set_leader("tidings.payments", 0, false).unwrap();
    stack.service(&[]).await;
}

#[tokio::test]
async fn a_consumer_that_does_not_join_its_group_says_so_and_since_when() {
    let stack = Stack::start().await;
    stack.broker.set_coordinator(false).unwrap();
    let service = stack.service(&[]).await;
    let group = async |state: &'static str| {
        eventually(&format!("the consumer group is {state}"), WAIT_TIMEOUT, async || {
            let (_, report) = service.get("/health/ready").await;
            let component = report["components"]["consumer group"].clone();
            if component["state"] == state { Ok(component["detail"].to_string()) } else { Err(report) }
        })
        .await
    };
    let detail = group("retrying").await;
    assert!(detail.contains("tidings.probe") && detail.contains("since 20"), "{detail}");
    // It says so as long as it lasts, and of the same time; what the client says of it may come later. Time has to pass.
    let since =
        |detail: &str| detail.split("since ").nth(1).unwrap()[.."2026-01-01T00:00:00Z".len()].to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(since(&group("retrying").await), since(&detail));
    stack.broker.set_coordinator(true).unwrap();
    group("up").await;
}

#[tokio::test]
async fn what_can_not_be_applied_fast_enough_is_not_fetched_and_the_metrics_say_so() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_KAFKA__BUFFER_RECORDS", "1")]).await;
    let mut held = stack.database.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE applied IN SHARE MODE").execute(&mut *held).await.unwrap();
    for _ in 0..60 {
        assert_eq!(service.post(&format!("/confirm/{}", new_id()), "").await.0, 202);
    }
    until_measured(&service, "messaging_paused_partitions", |partitions| partitions >= 1.0).await;
    held.rollback().await.unwrap();
    eventually("everything is applied", WAIT_TIMEOUT, async || {
        let applied = orders(&stack, "applied").await.len();
        if applied == 60 { Ok(()) } else { Err(applied) }
    })
    .await;
    until_measured(&service, "messaging_paused_partitions", |partitions| partitions.abs() < f64::EPSILON)
        .await;
}

#[tokio::test]
async fn a_stop_lets_the_request_in_hand_finish_and_drains_the_outbox() {
    let stack = Stack::start().await;
    let mut service = stack.service(&[("TIDINGS_OUTBOX__SHUTDOWN_GRACE_MS", "25000")]).await;
    let id = new_id();
    let request = client().post(format!("{}/confirm-slowly/{id}", service.url)).send();
    let (answer, ()) = tokio::join!(request, async {
        until_at_work(&stack, "%pg_sleep%").await;
        service.signal("-TERM");
    });
    assert_eq!(answer.unwrap().status(), 202);
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
    let unpublished: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox.unpublished()")
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
    assert_eq!(unpublished, 0, "{}", service.log());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let stack = Stack::start().await;
    let mut service = stack.service(&[("TIDINGS_LIFECYCLE__GRACE_MS", "60000")]).await;
    let url = format!("{}/forever", service.url);
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { client().get(url).send().await.is_ok() });
    // The question counts, too.
    until_measured(&service, "http_requests_in_flight", |requests| requests >= 2.0).await;
    service.signal("-INT");
    eventually("it stops", WAIT_TIMEOUT, async || {
        if service.log().contains("shutdown requested") { Ok(()) } else { Err(service.log()) }
    })
    .await;
    let asked = Instant::now();
    service.signal("-INT");
    assert_eq!(service.ended().await, Some(130));
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn replicas_that_start_at_once_migrate_once() {
    let stack = Stack::start().await;
    let (one, other) = tokio::join!(stack.service(&[]), stack.service(&[]));
    let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
    assert_eq!(migrations, 1);
    drop((one, other));
}

#[tokio::test]
async fn a_worker_that_fails_is_started_again_and_shows_in_health() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_PROBE__WORKER_FAILS", "true")]).await;
    eventually("health shows the worker", WAIT_TIMEOUT, async || {
        let (_, report) = service.get("/health/ready").await;
        let worker = &report["components"]["worker idle"];
        let detail = worker["detail"].as_str().unwrap_or_default();
        let failures = detail.strip_prefix("failure ").and_then(|rest| rest.split(':').next()?.parse().ok());
        if worker["state"] == "retrying" && failures >= Some(2) { Ok(()) } else { Err(report) }
    })
    .await;
}

/// A member that does not come back from an outage is replaced after two minutes (docs/adr/0013).
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn without_the_broker_a_service_says_so_and_goes_on_accepting() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    stack.broker.down().unwrap();
    eventually("the broker is missed", WAIT_TIMEOUT, async || {
        let (status, report) = service.get("/health/ready").await;
        let missed = status == 200 && report["components"]["broker"]["state"] == "down";
        if missed && report["components"]["database"]["state"] == "up" { Ok(()) } else { Err(report) }
    })
    .await;
    let id = new_id();
    assert_eq!(service.post(&format!("/confirm/{id}"), "").await.0, 202);
    stack.broker.up().unwrap();
    eventually("what was accepted is published and applied", OUTAGE_TIMEOUT, async || {
        let applied = orders(&stack, "applied").await;
        if applied == [id] { Ok(()) } else { Err(applied) }
    })
    .await;
}

/// Both report on threads of their own; the exporter by a facade that ends nowhere without a feature of its library.
#[tokio::test]
async fn errors_of_the_broker_client_and_the_span_exporter_reach_the_log() {
    let stack = Stack::start().await;
    let nobody = [("TIDINGS_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let service = stack.service(&nobody).await;
    stack.broker.down().unwrap();
    assert_eq!(service.post(&format!("/confirm/{}", new_id()), "").await.0, 202);
    for line in ["brokers are down", "BatchSpanProcessor.ExportError"] {
        eventually(&format!("the log says {line:?}"), WAIT_TIMEOUT, async || {
            let log = service.log();
            if log.contains(line) { Ok(()) } else { Err(log) }
        })
        .await;
    }
}

#[tokio::test]
async fn without_its_database_a_service_lives_and_is_not_ready() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let options = (*stack.database.pool().connect_options()).clone();
    let name = options.get_database().unwrap().to_owned();
    let mut admin = PgConnection::connect_with(&options.database("postgres")).await.unwrap();
    let mut allow = async |allowed: bool| {
        // One after the other: a connection that is made before the first is committed is ended by the second.
        for statement in [
            format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND NOT {allowed}"
            ),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
        }
    };
    for (allowed, expected) in [(false, 503), (true, 200)] {
        allow(allowed).await;
        eventually("readiness follows the database", WAIT_TIMEOUT, async || {
            let (status, report) = service.get("/health/ready").await;
            if status == expected { Ok(()) } else { Err(report) }
        })
        .await;
        assert_eq!(service.get("/health/live").await.0, 200);
    }
}

#[tokio::test]
async fn a_service_that_lacks_something_says_what_it_lacks_and_fails() {
    let stack = Stack::start().await;
    assert!(stack.run("migrate", &[]).status.success());
    let unused = "127.0.0.1:9";
    let database = format!("postgres://nobody:hunter2@{unused}/x");
    // One time-out is for all that is waited for: what comes before the thing that is missing takes its share.
    for (variable, value, timeout_ms, output_text) in [
        ("TIDINGS_DATABASE__URL", database.as_str(), "1500", "database.url"),
        ("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", unused, "8000", "kafka.bootstrap_servers"),
        ("TIDINGS_REGISTRY__URL", "http://127.0.0.1:9", "8000", "registry.url"),
        ("TIDINGS_HTTP__LISTEN", "here", "8000", "http.listen"),
        ("TIDINGS_HTTP__LISTNE", "127.0.0.1:0", "8000", "the nearest is TIDINGS_HTTP__LISTEN"),
    ] {
        let settings = [(variable, value), ("TIDINGS_LIFECYCLE__START_TIMEOUT_MS", timeout_ms)];
        let output = stack.run("run", &settings);
        assert_eq!(output.status.code(), Some(1), "{variable}");
        let told_us = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told_us.contains(output_text), "{variable}: {told_us}");
        let all = told_us + &String::from_utf8_lossy(&output.stdout);
        assert!(!all.contains("hunter2"), "the password is printed: {all}");
    }
}

#[tokio::test]
async fn a_database_that_forgets_commits_is_refused() {
    let stack = Stack::start().await;
    for setting in ["off", "local"] {
        let url = format!("{}?options=-csynchronous_commit%3D{setting}", stack.database.url());
        // Were it accepted, the service would end for want of a broker.
        let output = stack.run(
            "run",
            &[
                ("TIDINGS_DATABASE__URL", &url),
                ("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9"),
                ("TIDINGS_LIFECYCLE__START_TIMEOUT_MS", "5000"),
            ],
        );
        let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && output_text.contains("synchronous_commit"),
            "{setting}: {output_text}"
        );
    }
}

#[tokio::test]
async fn the_printed_configuration_hides_secrets() {
    let stack = Stack::start().await;
    let output = stack.run("print", &[("TIDINGS_DATABASE__URL", "postgres://u:hunter2@db/x")]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("postgres://u:(redacted)@db/x"), "{printed}");
    assert!(!printed.contains("hunter2") && printed.contains("[probe]"), "{printed}");
}

#[tokio::test]
async fn migrations_as_a_step_of_their_own_come_before_the_start() {
    let stack = Stack::start().await;
    let apart = [("TIDINGS_DATABASE__MIGRATE", "false"), ("TIDINGS_LIFECYCLE__START_TIMEOUT_MS", "20000")];
    let early = stack.run("run", &apart);
    let output_text = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(
        !early.status.success() && output_text.contains("--migrate") && output_text.contains("outbox"),
        "{output_text}"
    );

    let steps: Vec<_> = std::thread::scope(|scope| {
        let steps: Vec<_> = (0..3).map(|_| scope.spawn(|| stack.run("migrate", &[]))).collect();
        steps.into_iter().map(|step| step.join().unwrap()).collect()
    });
    for step in steps {
        assert!(step.status.success(), "{}", String::from_utf8_lossy(&step.stderr));
    }
    let mut service = stack.service(&apart[..1]).await;
    service.signal("-TERM");
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
}

/// The previous release goes on working while the next one migrates, so that a migration may lose a deadlock against it.
#[tokio::test]
async fn a_migration_that_loses_a_deadlock_is_tried_again() {
    let stack = Stack::start().await;
    let loses_once = "CREATE SEQUENCE tried;
        CREATE FUNCTION lose_once() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('public.tried') = 1 THEN RAISE EXCEPTION SQLSTATE '40P01'; END IF;
        END $$;
        CREATE EVENT TRIGGER lose_once ON ddl_command_start WHEN TAG IN ('CREATE INDEX')
            EXECUTE FUNCTION lose_once()";
    sqlx::raw_sql(loses_once).execute(stack.database.pool()).await.unwrap();
    let step = stack.run("migrate", &[]);
    assert!(step.status.success(), "{}", String::from_utf8_lossy(&step.stderr));
    let tried: i64 =
        sqlx::query_scalar("SELECT last_value FROM tried").fetch_one(stack.database.pool()).await.unwrap();
    assert!(tried > 1, "no index was made");
}

#[tokio::test]
async fn the_previous_release_runs_on_a_newer_schema_but_not_on_a_changed_one() {
    let stack = Stack::start().await;
    assert!(stack.run("migrate", &[]).status.success());
    for table in ["_sqlx_migrations", "outbox._migrations", "inbox._migrations"] {
        let newer = format!(
            "INSERT INTO {table} (version, description, success, checksum, execution_time)
             VALUES (99999999999999, 'of the next release', true, '', 0)"
        );
        sqlx::query(sqlx::AssertSqlSafe(newer)).execute(stack.database.pool()).await.unwrap();
    }
    for migrate in ["true", "false"] {
        let mut service = stack.service(&[("TIDINGS_DATABASE__MIGRATE", migrate)]).await;
        service.signal("-TERM");
        assert_eq!(service.ended().await, Some(0), "{}", service.log());
    }
    sqlx::query("UPDATE outbox._migrations SET checksum = ''").execute(stack.database.pool()).await.unwrap();
    for migrate in ["true", "false"] {
        let refused = stack.run("run", &[("TIDINGS_DATABASE__MIGRATE", migrate)]);
        let output_text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && output_text.contains("has been modified"), "{output_text}");
    }
}

#[tokio::test]
async fn a_supervisor_without_an_http_client_can_ask_for_health() {
    let stack = Stack::start().await;
    let nobody = stack.run("check", &[("TIDINGS_HTTP__LISTEN", "127.0.0.1:9")]);
    assert!(!nobody.status.success(), "{nobody:?}");

    let everywhere = [("TIDINGS_HTTP__ALLOW_INSECURE", "true"), ("TIDINGS_HTTP__LISTEN", "0.0.0.0:0")];
    let mut service = stack.service(&everywhere).await;
    assert!(service.log().contains("there is no authentication"), "{}", service.log());
    let listen = service.url.replace("http://", "");
    let settings = [everywhere[0], ("TIDINGS_HTTP__LISTEN", listen.as_str())];
    let healthy = stack.run("check", &settings);
    assert!(healthy.status.success(), "{healthy:?}");
    assert!(String::from_utf8_lossy(&healthy.stdout).contains("\"ready\":true"), "{healthy:?}");
    service.signal("-TERM");
    assert_eq!(service.ended().await, Some(0), "{}", service.log());
}
