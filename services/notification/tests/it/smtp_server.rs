//! A small SMTP server (RFC 5321) that takes mails into memory, and misbehaves on request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with a mail instead of taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// "Try later."
    RefusesForNow,
    /// "No such mailbox."
    RefusesForEver,
    /// Takes the mail and hangs up before it says so.
    HangsUpAfterTaking,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Vec<String>>,
    misbehaviours: Mutex<VecDeque<Misbehaviour>>,
}

/// Listens as long as the value lives.
#[derive(Debug)]
pub(crate) struct SmtpServer {
    shared: Arc<Shared>,
    port: u16,
    _listener: JoinSet<()>,
}

impl SmtpServer {
    pub(crate) async fn start(misbehaviours: &[Misbehaviour]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        shared.misbehaviours.lock().expect("no panic").extend(misbehaviours);
        let (accepting, mut tasks) = (Arc::clone(&shared), JoinSet::new());
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                conversations.spawn(async move { drop(converse(client, &shared).await) });
            }
        });
        Self { shared, port, _listener: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The mails taken, headers and body as they came.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.shared.taken.lock().expect("no panic").clone()
    }
}

async fn converse(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    client.write_all(b"220 test ESMTP\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-test\r\n250 8BITMIME\r\n",
            "DATA" => {
                client.write_all(b"354 go on\r\n").await?;
                let mail = body(&mut client).await?;
                let misbehaviour = shared.misbehaviours.lock().expect("no panic").pop_front();
                match misbehaviour {
                    None => {
                        shared.taken.lock().expect("no panic").push(mail);
                        b"250 taken\r\n"
                    }
                    Some(Misbehaviour::RefusesForNow) => b"451 try later\r\n",
                    Some(Misbehaviour::RefusesForEver) => b"550 no such mailbox <eve@example.org>\r\n",
                    Some(Misbehaviour::HangsUpAfterTaking) => {
                        shared.taken.lock().expect("no panic").push(mail);
                        return Ok(());
                    }
                }
            }
            "QUIT" => {
                client.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        client.write_all(answer).await?;
    }
}

async fn body(client: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut mail = String::new();
    loop {
        let start = mail.len();
        if client.read_line(&mut mail).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if &mail[start..] == ".\r\n" {
            mail.truncate(start);
            return Ok(mail);
        }
    }
}
