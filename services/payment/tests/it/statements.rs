//! What a payment costs at the database, on the wire (docs/adr/0033).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use contracts::clock::new_id;
use database::{Bounds, Database};
use payment::adapters::postgres::batch::BatchDeps;
use payment::adapters::postgres::saga::SagaStore;
use payment::adapters::provider::BuiltInProvider;
use payment::application::perform_steps::SagaSteps;
use service::leases::LeaseWorker;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::stack::{
    DELAYS, POLICY, RunningWorker, SETTINGS, Stack, TAKEN, apply_with, outbox, placed, reserved,
};

/// The most statements from the batch that reserves the stock to the end of the saga, with BEGIN and COMMIT: three calls of the
/// provider, an answer each for two of them, and six for the third, whose event is published.
const OF_A_SAGA: usize = 11;

/// Those of them that commit.
const COMMITS: usize = 6;

/// The texts of statements, by connection.
type Executed = BTreeMap<u16, Vec<String>>;

/// A way to PostgreSQL that notes each statement that is executed.
struct Way {
    options: PgConnectOptions,
    executed: Arc<Mutex<Executed>>,
    _forwarder: JoinSet<()>,
}

impl Way {
    async fn start(stack: &Stack) -> Self {
        let options = stack.pool().connect_options().as_ref().clone();
        let server = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (executed, mut forwarder) = (Arc::<Mutex<Executed>>::default(), JoinSet::new());
        let noted = Arc::clone(&executed);
        forwarder.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, noted) = (server.clone(), Arc::clone(&noted));
                connections.spawn(async move {
                    // A connection ends as either side likes.
                    drop(forward(client, TcpStream::connect(server).await, &noted).await);
                });
            }
        });
        // An encrypted way would show nothing.
        let options = options.host("127.0.0.1").port(port).ssl_mode(PgSslMode::Disable);
        Self { options, executed, _forwarder: forwarder }
    }

    fn database(&self) -> Database {
        Database::new(self.options.clone(), 8, Bounds::default())
    }

    /// What was executed since the last call.
    fn take(&self) -> Executed {
        std::mem::take(&mut *self.executed.lock().unwrap())
    }
}

async fn forward(
    client: TcpStream,
    server: std::io::Result<TcpStream>,
    noted: &Mutex<Executed>,
) -> std::io::Result<()> {
    let connection = client.peer_addr()?.port();
    let note = |statement| noted.lock().unwrap().entry(connection).or_default().push(statement);
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server?.into_split());
    let requests = async {
        let (mut prepared, mut bound) = (HashMap::new(), String::new());
        // The first message has no type.
        let mut has_kind = false;
        loop {
            let kind = if has_kind { from_client.read_u8().await? } else { 0 };
            let length = from_client.read_u32().await?;
            let mut body = vec![0; (length as usize).saturating_sub(4)];
            from_client.read_exact(&mut body).await?;
            let mut texts =
                body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
            let mut next = || texts.next().unwrap_or_default();
            match kind {
                b'P' => drop(prepared.insert(next(), next())),
                b'B' => {
                    next();
                    bound = prepared.get(&next()).cloned().unwrap_or_default();
                }
                b'E' => note(bound.clone()),
                b'Q' => note(next()),
                _ => {}
            }
            let mut message = if has_kind { vec![kind] } else { Vec::new() };
            message.extend(length.to_be_bytes());
            message.extend(body);
            to_server.write_all(&message).await?;
            has_kind = true;
        }
    };
    tokio::select! {
        copied = tokio::io::copy(&mut from_server, &mut to_client) => copied.map(drop),
        forwarded = requests => forwarded,
    }
}

/// Statements, and how many of them commit.
#[derive(Debug, Default)]
struct Counted {
    statements: Vec<String>,
    commits: usize,
}

impl Counted {
    /// Without those of a worker that looks for due steps, and of a connection that is made: time brings them.
    fn of(executed: Executed) -> Self {
        let mut counted = Self::default();
        for statements in executed.into_values() {
            let (mut transaction, mut is_open) = (Vec::new(), false);
            for statement in statements {
                is_open |= statement.starts_with("BEGIN");
                let ends = statement.ends_with("COMMIT") || statement.ends_with("ROLLBACK");
                transaction.push(statement);
                if ends || !is_open {
                    is_open = false;
                    counted.add(std::mem::take(&mut transaction));
                }
            }
        }
        counted
    }

    fn add(&mut self, transaction: Vec<String>) {
        let has = |text: &str| transaction.iter().any(|statement| statement.contains(text));
        if has("SKIP LOCKED") || has("min(due_at)") || has("set_config") || has("SQLx ping") {
            return;
        }
        self.commits += usize::from(has("INSERT") || has("UPDATE"));
        self.statements.extend(transaction);
    }
}

#[tokio::test]
async fn an_order_is_charged_by_few_statements() {
    let stack = Stack::start().await;
    let way = Way::start(&stack).await;
    let provider = Arc::new(BuiltInProvider::new(way.database(), DELAYS));
    let store = SagaStore::new(way.database(), outbox(), POLICY);
    let settings = service::leases::Settings { poll_interval: crate::stack::WAIT_TIMEOUT, ..SETTINGS };
    let steps = SagaSteps { store, provider, call_timeout: settings.call_timeout };
    let worker = LeaseWorker::new(steps, Arc::new(Notify::new()), settings);
    let deps = BatchDeps { wake: Arc::new(Notify::new()), places: worker.reservations(), policy: POLICY };
    let worker = RunningWorker::start(worker);
    testkit::wait::eventually("the worker has begun", crate::stack::WAIT_TIMEOUT, async || {
        deps.places.reserve(&[]).map(drop).ok_or("no place")
    })
    .await;
    drop(way.take());
    let order_id = new_id();
    apply_with(&deps, stack.database(), &[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    assert_eq!(stack.money(order_id).await, TAKEN);
    let counted = Counted::of(way.take());
    println!("{} statements, {} commits", counted.statements.len(), counted.commits);
    assert!(counted.statements.len() <= OF_A_SAGA && counted.commits <= COMMITS, "{counted:#?}");
    assert!(counted.statements.len() > 6, "what is counted is on this way: {counted:#?}");
}
