//! What `tidings up` promises about itself: it refuses what can't work, and leaves nothing behind.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use system::{System, options, say, turn};
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage};
use testkit::wait::eventually;
use tidings::up::databases::database_url;
use tidings::up::stack::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_holds_orders_is_refused_with_a_broker_that_forgot_them() -> anyhow::Result<()> {
    let postgres = PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await?;
    let mut parts = options();
    parts.kafka = None;
    parts.postgres = Some(postgres.url("postgres"));
    let system = System::start_on(&parts).await;
    system.replenish("TEAPOT", 1).await?;
    let order_id = system.place("TEAPOT", 1, "tok_visa").await?;
    system.ended(order_id).await;
    system.stop().await?;

    let refused = Stack::start(&parts, say()).await.err().map(|error| format!("{error:#}"));
    let refused = refused.expect("a used database is refused");
    assert!(refused.contains("holds orders already"), "{refused}");
    Ok(postgres.stop().await?)
}

/// `tidings up` as a process of its own, in a directory of its own for all that it writes.
struct Up {
    child: Child,
    dir: tempfile::TempDir,
    /// What it printed until it was ready.
    seen: Vec<String>,
}

fn command() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a binary");
    own.ancestors().nth(2).expect("target/debug/deps/it").join("tidings")
}

impl Up {
    fn start() -> Self {
        // Its PostgreSQL, which doesn't run as root, has its data below.
        let passable = Permissions::from_mode(0o711);
        let dir = tempfile::Builder::new().permissions(passable).tempdir().expect("a directory");
        let mut child = Command::new(command())
            .args(["up", "--ports", "auto"])
            .env("XDG_RUNTIME_DIR", dir.path())
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tidings is built: make build");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut seen = Vec::new();
        for line in output.lines() {
            let line = line.expect("text");
            if line.starts_with("ready") {
                return Self { child, dir, seen };
            }
            seen.push(line);
        }
        let ended = child.wait();
        panic!("tidings up ended before it was ready ({ended:?}): {seen:#?}");
    }

    /// What another command prints that finds this system by its state file.
    fn answers(&self, arguments: &[&str]) -> String {
        let output = Command::new(command()).args(arguments).env("XDG_RUNTIME_DIR", self.dir.path()).output();
        let output = output.expect("tidings is built: make build");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// All processes below it, and theirs.
    fn descendants(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        found.remove(0);
        found
    }

    async fn leaves_nothing(mut self, signal: Signal) -> Option<i32> {
        let descendants = self.descendants();
        assert!(descendants.len() >= 6, "five services and a database: {descendants:?}");
        assert!(self.dir.path().join("tidings.json").exists());
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it runs");
        let code =
            tokio::task::spawn_blocking(move || self.child.wait()).await.expect("joined").expect("waited");
        eventually("nothing is left", Duration::from_secs(40), async || {
            let left: Vec<u32> = descendants.iter().copied().filter(|pid| is_running(*pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        if signal != Signal::KILL {
            let left: Vec<_> = self.dir.path().read_dir().expect("a directory").collect();
            assert!(left.is_empty(), "{left:?}");
        }
        code.code()
    }
}

/// Whether the process runs; one that only waits to be collected does not.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_embedded_can_be_reached_and_its_password_is_printed_only_when_asked_for()
-> anyhow::Result<()> {
    let _turn = turn().await;
    let up = Up::start();
    let url = up.answers(&["addresses", "database", "--with-password"]);
    let mut database = PgConnection::connect(&database_url(&url, "tidings_order")).await?;
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut database).await?;
    assert_eq!(orders, 0);
    database.close().await?;
    let password = url.split([':', '@']).nth(2).expect("a password");
    let printed = up.seen.join("\n");
    assert!(!printed.contains(password) && !up.answers(&["addresses"]).contains(password));
    for part in ["order", "kafka", "registry"] {
        let address = up.answers(&["addresses", part]);
        assert!(printed.contains(&address), "{part}: {address}: {printed}");
    }
    assert_eq!(up.leaves_nothing(Signal::TERM).await, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_everything_that_was_started() {
    let _turn = turn().await;
    assert_eq!(Up::start().leaves_nothing(Signal::TERM).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn even_a_killed_up_leaves_no_process_behind() {
    let _turn = turn().await;
    assert_eq!(Up::start().leaves_nothing(Signal::KILL).await, None);
}
