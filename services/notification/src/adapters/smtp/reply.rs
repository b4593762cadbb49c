//! Whose fault a refusal is: decided by the command that it answers and by its codes (RFC 5321, RFC 3463, RFC 5248).
//!
//! | answer to | it is about |
//! |---|---|
//! | connection, STARTTLS, AUTH, MAIL | whoever asks: every mail would be refused |
//! | RCPT | the recipient, unless it refuses the relay, the login or the sender |
//! | DATA | the content, unless it refuses the login or the sender, or the server can't work |

use std::fmt;

use crate::application::mailer::SendError;

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Connect,
    StartTls,
    Auth,
    Mail,
    Recipient,
    /// The command, and the content after it.
    Data,
}

/// A refusal. Of its text, which may repeat the address, only the enhanced status code is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    code: u16,
    /// Subject and detail; the class is the code's first digit.
    enhanced: Option<(u16, u16)>,
}

/// Whom a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Mail,
    Transport,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connection",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
        })
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "smtp {}", self.code)?;
        match self.enhanced {
            Some((subject, detail)) => write!(f, " {}.{subject}.{detail}", self.code / 100),
            None => Ok(()),
        }
    }
}

impl Reply {
    pub(super) fn new(code: &str, text: &str) -> Self {
        let code = code.parse().unwrap_or(0);
        Self { code, enhanced: enhanced(code, text) }
    }

    /// What this answer to `command` says about the mail.
    pub(super) fn failure(self, command: Command) -> SendError {
        match (self.about(command), self.code / 100) {
            (About::Transport, _) => SendError::Transport(format!("{command}: {self}")),
            (About::Mail, 5) => SendError::Permanent(self.to_string()),
            (About::Mail, _) => SendError::Transient(self.to_string()),
        }
    }

    fn about(self, command: Command) -> About {
        match command {
            Command::Connect | Command::StartTls | Command::Auth | Command::Mail => About::Transport,
            Command::Recipient | Command::Data => match self.code {
                // Shutting down, bad command or sequence, no service, login or encryption required, unknown parameter.
                421 | 432 | 454 | 500 | 502..=504 | 521 | 523..=525 | 530 | 534 | 535 | 538 | 555 => {
                    About::Transport
                }
                _ => match self.enhanced {
                    Some((subject, detail)) if subject > 0 => self.by_status(command, subject, detail),
                    // `554 transaction failed` to a recipient is a server that takes mail from nobody like this client.
                    _ if self.code == 554 && command == Command::Recipient => About::Transport,
                    _ => About::Mail,
                },
            },
        }
    }

    fn by_status(self, command: Command, subject: u16, detail: u16) -> About {
        match (subject, detail) {
            // The sender's address is bad.
            (1, 7 | 8) => About::Transport,
            // Addresses, mailboxes, content; a message that is too big; a route to this recipient.
            (1 | 2 | 6, _) | (3, 4) => About::Mail,
            // The directory, congestion.
            (4, 3 | 5) => About::Transport,
            (4, _) => About::Mail,
            // The mailbox or the domain has another owner than when the address was made.
            (7, 17..=19) => About::Mail,
            // Policy. About content it is the content's; for now it is mostly greylisting; else it refuses the relay.
            (7, 0 | 1) if command == Command::Data || self.code / 100 == 4 => About::Mail,
            // The mail system, the protocol, login and authenticity of the sender.
            _ => About::Transport,
        }
    }
}

/// The enhanced status code that a text begins with. Its class agrees with the code's (RFC 2034).
fn enhanced(code: u16, text: &str) -> Option<(u16, u16)> {
    let mut parts = text.split_whitespace().next()?.split('.');
    let mut number = || {
        let part = parts.next()?;
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { part.parse::<u16>().ok() } else { None }
    };
    let (class, subject, detail) = (number()?, number()?, number()?);
    (class == code / 100 && parts.next().is_none()).then_some((subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(command: Command, answer: &str) -> SendError {
        let (code, text) = answer.split_once(' ').unwrap();
        Reply::new(code, text).failure(command)
    }

    #[test]
    fn before_a_recipient_is_named_every_refusal_is_the_transports() {
        for command in [Command::Connect, Command::StartTls, Command::Auth, Command::Mail] {
            for answer in
                ["554 no service", "535 5.7.8 bad login", "550 5.1.1 no such user", "451 4.3.0 later"]
            {
                let failure = failure(command, answer);
                assert!(matches!(failure, SendError::Transport(_)), "{command} {answer}: {failure:?}");
            }
        }
        assert_eq!(
            failure(Command::Auth, "535 5.7.8 <eve@example.org>"),
            SendError::Transport("AUTH: smtp 535 5.7.8".to_owned())
        );
    }

    #[test]
    fn answers_to_a_recipient_are_about_it_unless_they_refuse_whoever_asks() {
        let mail = [
            "550 no such user",
            "550 5.1.1 no such user",
            "550 5.4.1 recipient rejected",
            "550 5.7.17 owner changed",
            "551 not local",
            "553 5.1.3 syntax",
            "552 5.2.2 full",
            "556 5.1.10 null MX",
            "450 4.2.0 greylisted",
            "450 4.7.1 greylisted",
            "451 try later",
        ];
        let transport = [
            "550 5.7.1 relaying denied",
            "554 5.7.1 relay access denied",
            "454 4.7.1 relay access denied",
            "554 transaction failed",
            "530 5.7.0 authentication required",
            "535 5.7.8 bad login",
            "550 5.1.8 bad sender",
            "550 5.7.23 SPF",
            "450 4.7.25 no reverse DNS",
            "452 4.3.1 out of storage",
            "503 5.5.1 sequence",
            "421 4.3.2 shutting down",
        ];
        for answer in mail {
            let failure = failure(Command::Recipient, answer);
            assert!(!matches!(failure, SendError::Transport(_)), "{answer}: {failure:?}");
        }
        for answer in transport {
            let failure = failure(Command::Recipient, answer);
            assert!(matches!(failure, SendError::Transport(_)), "{answer}: {failure:?}");
        }
    }

    #[test]
    fn answers_to_the_content_are_about_it_unless_they_refuse_the_sender() {
        for answer in
            ["554 5.7.1 spam", "554 failed", "552 5.3.4 too big", "550 5.6.0 malformed", "550 5.7.0 policy"]
        {
            assert!(matches!(failure(Command::Data, answer), SendError::Permanent(_)), "{answer}");
        }
        for answer in ["550 5.7.26 unauthenticated", "421 4.7.28 rate", "451 4.3.0 queue", "530 5.7.0 login"]
        {
            assert!(matches!(failure(Command::Data, answer), SendError::Transport(_)), "{answer}");
        }
    }

    #[test]
    fn an_enhanced_code_counts_only_where_it_agrees_with_the_code() {
        for (answer, shown) in [
            ("550 5.1.1 no such user", "smtp 550 5.1.1"),
            ("550 4.1.1 no such user", "smtp 550"),
            ("550 5.1 no such user", "smtp 550"),
            ("550 5.1.1.1 no such user", "smtp 550"),
            ("550 5.1234.1 no such user", "smtp 550"),
            ("550 eve@example.org", "smtp 550"),
        ] {
            assert_eq!(
                failure(Command::Recipient, answer),
                SendError::Permanent(shown.to_owned()),
                "{answer}"
            );
        }
    }
}
