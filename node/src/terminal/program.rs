//! How a program begins and ends: its arguments, its log, its runtime, its exit
//! code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, FromArgMatches};

use super::exit::{self, Exit};
use super::output::{Form, Output};
use crate::log;

// How everything is printed. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Printing {
    /// How results are printed
    #[arg(long, global = true, env = "PATCHMESH_OUTPUT", value_name = "FORM", value_enum, default_value_t = Form::Table, hide_env_values = true)]
    output: Form,

    /// How the log on standard error looks
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<log::Format>,

    /// No progress, no remarks; only results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

impl Printing {
    pub(crate) fn output(&self) -> Output {
        Output::new(self.output, self.quiet)
    }

    /// From here on warnings are logged.
    ///
    /// # Errors
    /// A log that is set up already.
    pub(crate) fn log_warnings(&self) -> Result<(), log::Error> {
        log::start(self.log_format.unwrap_or(log::Format::Text), &log::Filter::warnings())
    }
}

/// Reads the arguments of `command` and runs it with them. Help, versions and
/// wrong arguments are answered here.
pub(crate) fn main<T: FromArgMatches>(
    command: clap::Command,
    arguments: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(T) -> ExitCode,
) -> ExitCode {
    let read = command.try_get_matches_from(arguments).and_then(|one| T::from_arg_matches(&one));
    match read {
        Ok(arguments) => run(arguments),
        Err(answer) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = answer.print();
            if answer.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
        }
    }
}

/// How a program ended; what went wrong is told.
pub(crate) fn ended(outcome: anyhow::Result<()>, form: Form) -> ExitCode {
    match outcome {
        Ok(()) => Exit::Success.into(),
        Err(error) => exit::report(&error, form).into(),
    }
}

/// Does the work of a program. Ctrl-C ends it, unless it `ends_itself` in order.
///
/// # Errors
/// Those of the work, and an interruption.
pub(crate) fn block_on(
    ends_itself: bool,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    // Two libraries with different ideas of a default provider may be linked;
    // a second call finds the provider set, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c(), if !ends_itself => Err(Exit::Interrupted.error("interrupted")),
        }
    });
    // Whatever still waits for the other side is of no interest any more.
    runtime.shutdown_background();
    outcome
}
