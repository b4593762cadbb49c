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
    /// Answers so in this phase.
    Answers(Phase, &'static str),
}

/// The phases of a conversation, in which an answer means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection is made; after another answer than 220 it is closed.
    Greeting,
    /// `AUTH`
    Auth,
    /// `MAIL FROM`
    Sender,
    /// `RCPT TO`
    Recipient,
    /// The mail's content has been sent.
    Content,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Vec<String>>,
    /// What is answered to every mail, whatever else is due.
    standing: Mutex<Option<(Phase, &'static str)>>,
    /// The commands, without the content of mails.
    commands: Mutex<Vec<String>>,
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
    pub fn misbehaves_to(&self, address: &str, misbehaviours: &[Misbehaviour]) {
        let mut recipients = self.shared.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        recipients.entry(address.to_owned()).or_default().extend(misbehaviours);
    }

    /// Answers so in this phase until it is told otherwise.
    pub fn always_answers(&self, answer: Option<(Phase, &'static str)>) {
        *self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// The commands of all clients so far, in upper case and without their arguments.
    pub fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The URL of a client that has a password.
    pub fn url_with_password(&self) -> String {
        format!("smtp://mailer:secret@127.0.0.1:{}", self.port)
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
        // An answer of a phase is for a mail that comes to it.
        let is_due = |first: &mut Misbehaviour| !matches!(first, Misbehaviour::Answers(..));
        self.next(recipient, is_due)
    }

    fn next(&self, recipient: &str, is_due: impl Fn(&mut Misbehaviour) -> bool) -> Option<Misbehaviour> {
        let mut recipients = self.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        let of_recipient = recipients.get_mut(recipient).and_then(|queue| queue.pop_front_if(&is_due));
        let mut others = self.misbehaviours.lock().unwrap_or_else(PoisonError::into_inner);
        of_recipient.or_else(|| others.pop_front_if(&is_due))
    }

    /// What is answered in this phase instead of going on.
    fn answer(&self, phase: Phase, recipient: &str) -> Option<&'static str> {
        let standing = *self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = standing.filter(|(at, _)| *at == phase) {
            return Some(answer);
        }
        let is_due = |first: &mut Misbehaviour| matches!(first, Misbehaviour::Answers(at, _) if *at == phase);
        match self.next(recipient, is_due) {
            Some(Misbehaviour::Answers(_, answer)) => Some(answer),
            _ => None,
        }
    }

    fn take(&self, mail: String) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
    }
}

async fn converse(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    if let Some(answer) = shared.answer(Phase::Greeting, "") {
        return reply(&mut client, answer).await;
    }
    reply(&mut client, "220 test ESMTP").await?;
    let (mut line, mut recipient) = (String::new(), String::new());
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        shared.commands.lock().unwrap_or_else(PoisonError::into_inner).push(verb.clone());
        let answer = match verb.as_str() {
            "EHLO" => "250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME",
            "AUTH" => shared.answer(Phase::Auth, "").unwrap_or("235 2.7.0 welcome"),
            "MAIL" => shared.answer(Phase::Sender, "").unwrap_or("250 ok"),
            "RCPT" => {
                let address = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                recipient = address.map(|(address, _)| address.to_owned()).unwrap_or_default();
                shared.answer(Phase::Recipient, &recipient).unwrap_or("250 ok")
            }
            "DATA" => {
                reply(&mut client, "354 go on").await?;
                let mail = body(&mut client).await?;
                match take(mail, &recipient, shared).await {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        reply(&mut client, answer).await?;
        if answer.starts_with("221") || answer.starts_with("421") {
            return Ok(());
        }
    }
}

/// The answer to a mail's content; `None` hangs up.
async fn take(mail: String, recipient: &str, shared: &Shared) -> Option<&'static str> {
    if let Some(answer) = shared.answer(Phase::Content, recipient) {
        return Some(answer);
    }
    match shared.misbehaviour(recipient) {
        Some(Misbehaviour::RefusesForNow) => return Some("451 try later"),
        Some(Misbehaviour::RefusesForEver) => return Some("550 no such mailbox <eve@example.org>"),
        Some(Misbehaviour::HangsUpAfterTaking) => {
            shared.take(mail);
            return None;
        }
        Some(Misbehaviour::TakesLate(after)) => {
            shared.take(mail);
            tokio::time::sleep(after).await;
        }
        // An answer for a phase that this mail did not come to.
        Some(Misbehaviour::Answers(..)) | None => shared.take(mail),
    }
    Some("250 taken")
}

async fn reply(client: &mut BufReader<TcpStream>, answer: &str) -> std::io::Result<()> {
    client.write_all(format!("{answer}\r\n").as_bytes()).await
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
