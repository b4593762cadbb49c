//! The worker that delivers mails, what a mail is made of, and the port to a mail server.

pub mod deliver_mails;
pub mod mail;
pub mod mailer;
