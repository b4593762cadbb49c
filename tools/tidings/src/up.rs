//! `tidings up`: everything started, watched and stopped as one.

pub mod configuration;
mod connections;
pub mod databases;
mod extra;
mod foundation;
pub mod options;
pub mod ports;
pub mod process;
mod reachable;
pub mod stack;

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use self::options::Options;
use self::process::Say;
use self::stack::Stack;
use crate::addresses;
use crate::output;
use crate::state::{self, StateFile};

/// Runs the system until Ctrl-C or SIGTERM.
///
/// # Errors
/// When it can't be started, or a service can't be run at all.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    let say = to_terminal();
    let starting = start_registered(options, &say);
    let (stack, state_file) = tokio::select! {
        started = starting => started?,
        () = stop.received() => return Ok(()),
    };
    list(&stack, &say);
    let outcome = tokio::select! {
        () = stop.received() => Ok(()),
        error = stack.failed() => Err(error),
    };
    say("stopping".to_owned());
    drop(state_file);
    tokio::select! {
        stopped = stack.stop() => stopped?,
        () = stop.received() => say("stopped at once".to_owned()),
    }
    outcome
}

/// Starts the system and records its addresses for the other commands.
///
/// # Errors
/// When it can't be started, or another one runs.
pub async fn start_registered(options: &Options, say: &Say) -> anyhow::Result<(Stack, StateFile)> {
    let path = state::default_path(options.name.as_deref())?;
    state::refuse_second(&path)?;
    let stack = Stack::start(options, Arc::clone(say)).await?;
    match StateFile::create(&path, stack.system()) {
        Ok(file) => Ok((stack, file)),
        Err(error) => {
            stack.stop().await?;
            Err(error)
        }
    }
}

/// Says where everything is.
pub fn list(stack: &Stack, say: &Say) {
    for part in addresses::of(stack.system(), false) {
        say(part.to_string());
    }
    say("each service links to its API documentation, health and metrics at /".to_owned());
    say("tidings addresses database --with-password prints the database's address with its password"
        .to_owned());
    say("ready; Ctrl-C stops everything".to_owned());
}

/// Prints each line, to standard output. A reader that has gone away (`tidings up | head`) stops nothing.
pub fn to_terminal() -> Say {
    Arc::new(|line| {
        let _ = output::line(&line);
    })
}

/// Ctrl-C and SIGTERM.
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Takes both signals from now on.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
