//! A small SMTP server (RFC 5321) that takes mails into memory, and misbehaves on request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with a mail instead of taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// "Try later."
    RefusesForNow,
    /// "No such mailbox."
    RefusesForEver,
    /// Takes the mail and hangs up before it says so.
    HangsUpAfterTaking,
    /// Takes the mail and says so after this time.
    TakesLate(Duration),
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Vec<String>>,
    misbehaviours: Mutex<VecDeque<Misbehaviour>>,
    recipients: Mutex<HashMap<String, VecDeque<Misbehaviour>>>,
}

/// Listens as long as the value lives.
#[derive(Debug)]
pub struct SmtpServer {
    shared: Arc<Shared>,
    port: u16,
    _listener: JoinSet<()>,
}

impl SmtpServer {
    /// Listens on a free port, and does so with the first mails.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(misbehaviours: &[Misbehaviour]) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        shared.misbehaviours.lock().unwrap_or_else(PoisonError::into_inner).extend(misbehaviours);
        let (accepting, mut tasks) = (Arc::clone(&shared), JoinSet::new());
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                conversations.spawn(async move { drop(converse(client, &shared).await) });
            }
        });
        Ok(Self { shared, port, _listener: tasks })
    }

    /// Does so with the next mails to this address.
    ///
    pub fn misbehaves_to(&self, address: &str, misbehaviours: &[Misbehaviour]) {
        let mut recipients = self.shared.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        recipients.entry(address.to_owned()).or_default().extend(misbehaviours);
    }

    /// `smtp://host:port`
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The mails taken, headers and body as they came.
    pub fn taken(&self) -> Vec<String> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn misbehaviour(&self, recipient: &str) -> Option<Misbehaviour> {
        let mut recipients = self.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        let of_recipient = recipients.get_mut(recipient).and_then(VecDeque::pop_front);
        of_recipient.or_else(|| self.misbehaviours.lock().unwrap_or_else(PoisonError::into_inner).pop_front())
    }
}

async fn converse(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    client.write_all(b"220 test ESMTP\r\n").await?;
    let (mut line, mut recipient) = (String::new(), String::new());
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
                match shared.misbehaviour(&recipient) {
                    None => {
                        shared.taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                        b"250 taken\r\n"
                    }
                    Some(Misbehaviour::RefusesForNow) => b"451 try later\r\n",
                    Some(Misbehaviour::RefusesForEver) => b"550 no such mailbox <eve@example.org>\r\n",
                    Some(Misbehaviour::HangsUpAfterTaking) => {
                        shared.taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                        return Ok(());
                    }
                    Some(Misbehaviour::TakesLate(after)) => {
                        shared.taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                        tokio::time::sleep(after).await;
                        b"250 taken\r\n"
                    }
                }
            }
            "RCPT" => {
                let address = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                recipient = address.map(|(address, _)| address.to_owned()).unwrap_or_default();
                b"250 ok\r\n"
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
