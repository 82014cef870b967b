//! How a program begins and ends: its arguments, its log, its runtime, its exit
//! code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, FromArgMatches, ValueEnum};

use super::exit::{self, Exit};
use super::output::{Form, Output};
use crate::log;

/// The option, and the variable, that say how results are printed.
const OUTPUT: (&str, &str) = ("--output", "PATCHMESH_OUTPUT");

// How everything is printed. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Printing {
    /// How results are printed
    #[arg(long, global = true, env = OUTPUT.1, value_name = "FORM", value_enum, default_value_t = Form::Table, hide_env_values = true)]
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
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let read = command.try_get_matches_from(&arguments).and_then(|one| T::from_arg_matches(&one));
    match read {
        Ok(arguments) => run(arguments),
        Err(error) if error.use_stderr() && is_json(&arguments, std::env::var_os(OUTPUT.1)) => {
            exit::report(&Exit::Usage.error(wrong(&error)), Form::Json).into()
        }
        Err(answer) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = answer.print();
            if answer.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
        }
    }
}

/// Whether arguments that could not be read ask for JSON; without a word of theirs, whether
/// the variable does.
fn is_json(arguments: &[OsString], variable: Option<OsString>) -> bool {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let stated = options.by_ref().find_map(|argument| {
        let rest = argument.to_str()?.strip_prefix(OUTPUT.0)?;
        if rest.is_empty() { Some(None) } else { rest.strip_prefix('=').map(Some) }
    });
    let form = match stated {
        Some(Some(form)) => Some(form),
        Some(None) => options.next().and_then(|form| form.to_str()),
        None => variable.as_deref().and_then(|form| form.to_str()),
    };
    form.is_some_and(|form| Form::from_str(form, false) == Ok(Form::Json))
}

/// What is wrong with arguments, without the help that a person gets.
fn wrong(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; --help lists those there are".to_owned();
    }
    let text = error.render().to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> clap::Command {
        let times = clap::Arg::new("times").long("times").value_parser(clap::value_parser!(u8));
        Printing::augment_args(clap::Command::new("program"))
            .arg(times)
            .arg_required_else_help(true)
    }

    #[test]
    fn whoever_asks_for_json_gets_wrong_arguments_in_it() {
        let asked = |text: &str, variable: Option<&str>| {
            let arguments: Vec<OsString> = text.split(' ').map(OsString::from).collect();
            is_json(&arguments, variable.map(OsString::from))
        };
        for text in ["p --output json x", "p x --output=json", "p --output=json -- --output table"]
        {
            assert!(asked(text, None), "{text}");
        }
        for text in
            ["p x", "p --output", "p --output table json", "p -- --output json", "p --outputs=json"]
        {
            assert!(!asked(text, None), "{text}");
        }
        assert!(asked("p x", Some("json")) && !asked("p x", Some("csv")));
        assert!(!asked("p --output table", Some("json")), "an option goes first");
    }

    #[test]
    fn what_is_wrong_is_told_without_what_only_people_read() {
        let told = |text: &str| {
            let read = program().try_get_matches_from(text.split(' '));
            wrong(&read.expect_err("wrong arguments"))
        };
        let many = told("program --times many");
        assert!(many.starts_with("invalid value 'many' for '--times"), "{many}");
        assert_eq!(told("program"), "a command is missing; --help lists those there are");
    }
}
