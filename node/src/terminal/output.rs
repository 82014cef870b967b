//! Results on standard output: a table for people or JSON for scripts.
//!
//! Text that came from elsewhere is stripped of control characters before a
//! terminal sees it; JSON escapes them by itself.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::Exit;
#[cfg(feature = "server")]
use super::sheet::Sheet;

/// Terminals narrower than this, or that do not say how wide they are, get
/// whole lines: cells folded to a few letters help nobody.
const MIN_WIDTH: u16 = 60;

/// What a command without rows says to `--output csv`.
pub(crate) const NO_ROWS: &str =
    "this command has no rows for CSV, only some reports do; use --output json or table";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// One JSON object, documented in the manual.
    Json,
    /// Comma-separated values with a header, of those reports that have rows.
    Csv,
}

/// A result: JSON by its fields, and a form for people.
pub(crate) trait Answer: Serialize {
    /// What a person reads; lines end with `\n`.
    fn text(&self) -> String;

    /// Its rows for a spreadsheet, where it is made of rows.
    #[cfg(feature = "server")]
    fn sheet(&self) -> Option<Sheet> {
        None
    }
}

/// Where results and remarks go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    form: Form,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(form: Form, quiet: bool) -> Self {
        Self { form, quiet }
    }

    pub(crate) fn form(self) -> Form {
        self.form
    }

    /// Prints a result.
    pub(crate) fn print(self, answer: &impl Answer) -> anyhow::Result<()> {
        let text = match self.form {
            Form::Table => answer.text(),
            Form::Json => {
                let mut text = serde_json::to_string_pretty(answer)?;
                text.push('\n');
                text
            }
            #[cfg(feature = "server")]
            Form::Csv if let Some(sheet) = answer.sheet() => sheet.csv()?,
            Form::Csv => return Err(Exit::Usage.error(NO_ROWS.to_owned())),
        };
        write(&text)
    }

    /// Says something on the side, on standard error, unless told to be quiet.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "agents remark nothing"))]
    pub(crate) fn remark(self, text: &str) {
        if !self.quiet {
            eprintln!("{}", clean_lines(text));
        }
    }
}

/// Writes to standard output. A reader that has gone, such as `head`, is no
/// failure.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A table with a header. Piped, every row is one line of any length; on a
/// terminal, cells are folded to its width.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let wide_enough = table.width().is_some_and(|width| width >= MIN_WIDTH);
    table.set_content_arrangement(if std::io::stdout().is_terminal() && wide_enough {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    table.set_header(header.map(str::to_uppercase));
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| clean(&cell))));
    lines(&table)
}

/// Names with their values, one a line; absent values are left out.
pub(crate) fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for (name, value) in pairs {
        if let Some(value) = value {
            table.add_row([format!("{name}:"), clean(&value)]);
        }
    }
    lines(&table)
}

fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end().strip_prefix(' ').unwrap_or_default()))
        .collect()
}

/// One line without control characters.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text without control characters but ends of lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_table_has_one_line_a_row_and_no_trailing_space() {
        let long = "x".repeat(300);
        let text = table(
            ["name", "title"],
            [["a".to_owned(), long.clone()], ["bb".into(), "\u{1b}[31mred".into()]],
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("NAME") && lines[1].ends_with(&long), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(lines.iter().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn absent_fields_are_left_out() {
        let text = fields([("name", Some("hq".to_owned())), ("problem", None)]);
        assert_eq!(text, "name:  hq\n");
    }
}
