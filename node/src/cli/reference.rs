//! `docs/cli.md`, made from what clap and the exit codes say. A test compares
//! the file with it, so that the manual and the help are one text:
//! `PATCHMESH_BLESS=1 cargo test reference` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use clap::Arg;

use super::exit::Exit;

const HEAD: &str = "\
# The command line

<!-- Made from `patchmesh --help`; see node/src/cli/reference.rs. -->

Results go to standard output, as a table or, with `--output json`, as one JSON object with the fields
that each command's section names. Times are RFC 3339 in UTC, sizes are bytes, digests hexadecimal; what
is not known is `null`. Fields may be added, never renamed. Messages, progress and logs go to standard error.

Commands talk to the node of `--data` on this host over its local socket, or to the one that `--node`
names. A remote node wants credentials: a folder with `ca.pem`, `cert.pem` and `key.pem`.
";

fn reference() -> String {
    let mut text = HEAD.to_owned();
    let root = super::command().term_width(100);
    exit_codes(&mut text);
    let _ = writeln!(text, "\n## Options of every command\n");
    arguments(&mut text, root.get_arguments().filter(|argument| argument.is_global_set()));
    settings(&mut text);
    section(&mut text, &[], &root);
    text
}

fn exit_codes(text: &mut String) {
    let _ = writeln!(text, "\n## Exit codes\n\n| code | word | meaning |\n|---|---|---|");
    for exit in Exit::ALL {
        let _ = writeln!(text, "| {} | `{}` | {} |", exit.code(), exit.word(), exit.meaning());
    }
}

fn settings(text: &mut String) {
    let _ = writeln!(
        text,
        "\n## Settings of `serve`\n\n\
         From `patchmesh.toml` in the data folder or the file that `--config` names, then its drop-ins \
         (`patchmesh.d/*.toml`), then variables (`PATCHMESH_LISTEN` sets `listen`), then options.\n\n\
         | key | default | meaning |\n|---|---|---|"
    );
    for key in crate::config::KEYS {
        let default = key.default.map(|text| format!("`{text}`")).unwrap_or_default();
        let _ = writeln!(text, "| `{}` | {default} | {} |", key.name, key.meaning);
    }
}

fn section(text: &mut String, path: &[&str], command: &clap::Command) {
    let mut path = path.to_vec();
    path.push(command.get_name());
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        if command.has_subcommands() {
            section(text, &path, command);
            continue;
        }
        let name = format!("{} {}", path.join(" "), command.get_name());
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "\n## `{name}`\n\n{about}.");
        if let Some(more) = command.get_long_about().map(ToString::to_string) {
            let more = more.strip_prefix(&about).unwrap_or(&more).trim();
            if !more.is_empty() {
                let _ = writeln!(text, "\n{more}");
            }
        }
        let own = || {
            command.get_arguments().filter(|argument| {
                !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help"
            })
        };
        if own().next().is_some() {
            text.push('\n');
            arguments(text, own());
        }
        if let Some(help) = command.get_after_help() {
            let _ = writeln!(text, "\n```text\n{help}\n```");
        }
    }
}

fn arguments<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let _ = writeln!(text, "| option | meaning |\n|---|---|");
    for argument in arguments {
        let value = argument
            .get_action()
            .takes_values()
            .then(|| {
                argument.get_value_names().map(|names| {
                    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                })
            })
            .flatten();
        let name = match (argument.get_long(), value) {
            (Some(long), Some(value)) => format!("--{long} {value}"),
            (Some(long), None) => format!("--{long}"),
            (None, value) => value.unwrap_or_default(),
        };
        let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty()
            && !argument.is_hide_default_value_set()
            && argument.get_action().takes_values()
        {
            let _ = write!(meaning, " [default: {}]", defaults.join(" "));
        }
        let _ =
            writeln!(text, "| `{}` | {} |", name.replace('|', "\\|"), meaning.replace('|', "\\|"));
    }
}

#[test]
fn the_manual_says_what_the_program_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let text = reference();
    if std::env::var_os("PATCHMESH_BLESS").is_some() {
        std::fs::write(&path, &text).expect("docs/cli.md can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/cli.md is not what the program says; run `PATCHMESH_BLESS=1 cargo test reference` and look at the change"
    );
}
