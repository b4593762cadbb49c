//! A way to PostgreSQL that notes, for each transaction, its statements and the tables of which each has locked rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A transaction, as far as it was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    /// Their texts.
    pub(super) statements: Vec<String>,
    /// The tables of which a statement is the first of the transaction to lock rows, or to write some; one per statement.
    pub(super) locks: Vec<BTreeSet<String>>,
    pub(super) is_committed: bool,
}

/// Forwards connections to a server until it is dropped.
pub(super) struct Recorder {
    url: String,
    recorded: Recorded,
    _forwarder: JoinSet<()>,
}

/// By database.
type Recorded = Arc<Mutex<BTreeMap<String, Vec<Transaction>>>>;

impl Recorder {
    pub(super) async fn start(server: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, recorded) = (listener.local_addr()?, Recorded::default());
        let options: PgConnectOptions = server.parse()?;
        let of_server = format!("{}:{}", options.get_host(), options.get_port());
        let url = format!("{}?sslmode=disable", server.replace(&of_server, &address.to_string()));
        let (theirs, mut forwarder) = (Arc::clone(&recorded), JoinSet::new());
        forwarder.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (options, recorded) = (options.clone(), Arc::clone(&theirs));
                connections.spawn(async move {
                    // A connection ends as either side likes.
                    drop(Connection::serve(client, options, recorded).await);
                });
            }
        });
        Ok(Self { url, recorded, _forwarder: forwarder })
    }

    /// The server by this way.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn transactions(&self) -> BTreeMap<String, Vec<Transaction>> {
        self.recorded.lock().expect("no panic").clone()
    }
}

/// A message of the protocol.
struct Message {
    kind: Option<u8>,
    body: Vec<u8>,
}

impl Message {
    /// The first message of a client has no type.
    async fn read(from: &mut (impl AsyncReadExt + Unpin), has_kind: bool) -> std::io::Result<Self> {
        let kind = if has_kind { Some(from.read_u8().await?) } else { None };
        let length = from.read_u32().await?;
        let mut body = vec![0; (length as usize).saturating_sub(4)];
        from.read_exact(&mut body).await?;
        Ok(Self { kind, body })
    }

    async fn write(&self, to: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<()> {
        let mut bytes: Vec<u8> = self.kind.into_iter().collect();
        bytes.extend(u32::try_from(self.body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(&self.body);
        to.write_all(&bytes).await
    }

    /// The texts of the body, each up to its zero byte.
    fn texts(&self) -> Vec<String> {
        self.body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}

struct Connection {
    database: String,
    pid: i32,
    /// Asks the server about the locks of the other one; opened with its first transaction.
    control: Option<PgConnection>,
    options: PgConnectOptions,
    /// The texts of prepared statements, by name.
    prepared: HashMap<String, String>,
    /// The statement of the portal that is executed next.
    bound: String,
    transaction: Option<Transaction>,
    /// Whether a statement has been executed since the last look.
    has_executed: bool,
    recorded: Recorded,
}

impl Connection {
    async fn serve(client: TcpStream, options: PgConnectOptions, recorded: Recorded) -> anyhow::Result<()> {
        let server = TcpStream::connect((options.get_host(), options.get_port())).await?;
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let startup = Message::read(&mut from_client, false).await?;
        startup.write(&mut to_server).await?;
        let texts = startup.texts();
        let database =
            texts.iter().skip_while(|text| !text.ends_with("database")).nth(1).cloned().unwrap_or_default();
        let mut connection = Self {
            database,
            pid: 0,
            control: None,
            options,
            prepared: HashMap::new(),
            bound: String::new(),
            transaction: None,
            has_executed: false,
            recorded,
        };
        // The server's process names itself before it is ready for the first time.
        loop {
            let message = Message::read(&mut from_server, true).await?;
            if let (Some(b'K'), Some(pid)) = (message.kind, message.body.first_chunk()) {
                connection.pid = i32::from_be_bytes(*pid);
            }
            message.write(&mut to_client).await?;
            if message.kind == Some(b'R') && message.body.first_chunk() != Some(&0_i32.to_be_bytes()) {
                Message::read(&mut from_client, true).await?.write(&mut to_server).await?;
            }
            if message.kind == Some(b'Z') {
                break;
            }
        }
        let requests = async {
            loop {
                let message = Message::read(&mut from_client, true).await?;
                connection.note(&message).await?;
                message.write(&mut to_server).await?;
            }
        };
        tokio::select! {
            copied = tokio::io::copy(&mut from_server, &mut to_client) => copied.map(drop).map_err(Into::into),
            noted = requests => noted,
        }
    }

    async fn note(&mut self, message: &Message) -> anyhow::Result<()> {
        let texts = message.texts();
        let text = |place: usize| texts.get(place).cloned().unwrap_or_default();
        match message.kind {
            Some(b'P') => {
                self.look().await?;
                self.prepared.insert(text(0), text(1));
            }
            Some(b'B') => {
                self.look().await?;
                self.bound = self.prepared.get(&text(1)).cloned().unwrap_or_default();
            }
            Some(b'E') => self.executes(self.bound.clone()),
            Some(b'Q') => {
                self.look().await?;
                let query = text(0);
                if query.starts_with("BEGIN") {
                    self.transaction = Some(Transaction::default());
                }
                let ends = query.ends_with("COMMIT") || query.ends_with("ROLLBACK");
                let is_committed = query.ends_with("COMMIT");
                self.executes(query);
                if ends && let Some(transaction) = self.transaction.take() {
                    let transaction = Transaction { is_committed, ..transaction };
                    let mut recorded = self.recorded.lock().expect("no panic");
                    recorded.entry(self.database.clone()).or_default().push(transaction);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn executes(&mut self, statement: String) {
        if let Some(transaction) = &mut self.transaction {
            transaction.statements.push(statement);
            transaction.locks.push(BTreeSet::new());
            self.has_executed = true;
        }
    }

    /// What the last statement has locked, before anything of the next one is sent: each waits for the response to the one before,
    /// and a statement locks tables as soon as it is parsed.
    async fn look(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.has_executed) {
            return Ok(());
        }
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        if self.control.is_none() {
            self.control = Some(self.options.clone().database(&self.database).connect().await?);
        }
        let Some(control) = &mut self.control else { return Ok(()) };
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text
             FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
             WHERE l.pid = $1 AND l.locktype = 'relation' AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
               AND l.granted AND c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace",
        )
        .bind(self.pid)
        .fetch_all(control)
        .await?;
        let known: BTreeSet<&String> = transaction.locks.iter().flatten().collect();
        let new = tables.into_iter().filter(|table| !known.contains(table)).collect();
        if let Some(last) = transaction.locks.last_mut() {
            last.extend::<BTreeSet<String>>(new);
        }
        Ok(())
    }
}
