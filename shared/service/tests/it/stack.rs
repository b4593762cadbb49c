//! A database, an embedded broker and an embedded registry, and processes of the service between them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contracts::{Topic, Topics};
use messaging::TopicSpec;
use serde_json::Value;
use testkit::broker::EmbeddedBroker;
use testkit::postgres::TestDatabase;
use testkit::registry::EmbeddedRegistry;
use testkit::wait::eventually;

use crate::under_test::RUN;

/// Starting, joining a group of the embedded broker, and ending take seconds on a busy machine.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Stack {
    pub(crate) database: TestDatabase,
    pub(crate) broker: EmbeddedBroker,
    pub(crate) registry: EmbeddedRegistry,
}

impl Stack {
    /// Everything that a service needs; its database is empty.
    pub(crate) async fn start() -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        let topics: Vec<TopicSpec> = Topic::ALL
            .into_iter()
            .map(|topic| TopicSpec {
                name: Topics::default().name(topic),
                partitions: contracts::topics::PARTITIONS,
                replication_factor: 1,
            })
            .collect();
        broker.create_topics(&topics).unwrap();
        let registry = EmbeddedRegistry::start_anywhere().await.unwrap();
        let database = TestDatabase::create("empty", async |_| Ok(())).await;
        Self { database, broker, registry }
    }

    fn command(&self, mode: &str, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "under_test::service_under_test", "--nocapture"])
            .env(RUN, mode)
            .env("TIDINGS_DATABASE__URL", self.database.url())
            .env("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", self.broker.bootstrap_servers())
            .env("TIDINGS_KAFKA__FETCH_WAIT_MAX_MS", "10")
            .env("TIDINGS_REGISTRY__URL", self.registry.url())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the service to its end.
    pub(crate) fn run(&self, mode: &str, settings: &[(&str, &str)]) -> Output {
        self.command(mode, settings).output().unwrap()
    }

    /// Starts the service and waits until it is ready.
    pub(crate) async fn service(&self, settings: &[(&str, &str)]) -> Process {
        let mut child = self.command("run", settings).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut process = Process { child, log, reader: Some(reader), url: String::new() };
        process.url = eventually("the service listens", WAIT_TIMEOUT, async || {
            let log = process.log();
            let address = log.split("listens on ").nth(1).and_then(|rest| rest.split(',').next());
            address.map(str::to_owned).ok_or(log)
        })
        .await;
        eventually("the service is ready", WAIT_TIMEOUT, async || {
            let (status, report) = process.get("/health/ready").await;
            if status == 200 { Ok(()) } else { Err(report) }
        })
        .await;
        process
    }
}

/// A running service; killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) url: String,
}

impl Process {
    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(client().get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = client().post(format!("{}{path}", self.url));
        self.send(request.header("content-type", "application/json").body(body.to_owned())).await
    }

    /// Status and body; a body that is no JSON becomes a string.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let problem = response
            .headers()
            .get("content-type")
            .is_some_and(|expected| expected == "application/problem+json");
        assert_eq!(status >= 400 && !response.url().path().starts_with("/health"), problem, "{response:?}");
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A figure of its memory as the kernel counts it, in kB: `VmRSS` is now, `VmHWM` the peak.
    pub(crate) fn memory_kb(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Counts the peak anew.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its exit code, once it has ended and its log is complete.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status.code();
            }
            assert!(started.elapsed() < WAIT_TIMEOUT, "it does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client() -> reqwest::Client {
    contracts::http::client().timeout(WAIT_TIMEOUT).build().unwrap()
}
