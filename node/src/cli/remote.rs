//! `patchmesh remote`: other nodes that this user asks, each with a URL and
//! a folder of credentials.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Context;
use super::exit::Exit;
use super::output::{Answer, table};
use crate::transport::address::NodeUrl;

pub(crate) mod book;

use book::{Book, Entry};

#[derive(Debug, Subcommand)]
pub(crate) enum Remote {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Remember a node under a name
///
/// The credentials are named with the option of every command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh remote add hq --url https://hq.example:8443 --credentials /home/ada/hq
  patchmesh --node hq status

JSON:
  {\"remotes\": [{\"name\", \"url\", \"credentials\"}]}")]
pub(crate) struct Add {
    /// What to call it
    name: String,
    /// Its base URL
    #[arg(long, value_name = "URL")]
    url: NodeUrl,
    /// Replace a remote of this name
    #[arg(long)]
    replace: bool,
}

/// List the nodes remembered
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh remote list

JSON:
  {\"remotes\": [{\"name\", \"url\", \"credentials\"}]}")]
pub(crate) struct List {}

/// Forget a node; its credentials stay where they are
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh remote remove hq

JSON:
  {\"remotes\": [{\"name\", \"url\", \"credentials\"}]}")]
pub(crate) struct Remove {
    /// Its name
    name: String,
}

#[derive(Debug, Serialize)]
struct Remotes {
    remotes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    url: String,
    credentials: PathBuf,
}

impl Answer for Remotes {
    fn text(&self) -> String {
        table(
            ["name", "url", "credentials"],
            self.remotes.iter().map(|row| {
                [row.name.clone(), row.url.clone(), row.credentials.display().to_string()]
            }),
        )
    }
}

impl From<Book> for Remotes {
    fn from(book: Book) -> Self {
        let rows = book.remotes.into_iter().map(|(name, entry)| Row {
            name,
            url: entry.url.to_string(),
            credentials: entry.credentials,
        });
        Self { remotes: rows.collect() }
    }
}

impl Remote {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Remote::Add(command) => command.run(context),
            Remote::List(_) => context.output.print(&Remotes::from(Book::load()?)),
            Remote::Remove(command) => command.run(context),
        }
    }
}

impl Add {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let Some(credentials) = &context.global.credentials else {
            return Err(Exit::Usage.error("name your credentials for it with --credentials FOLDER"));
        };
        if self.name.is_empty() || self.name.contains("://") {
            return Err(Exit::Usage.error(format!("{:?} cannot be a remote's name", self.name)));
        }
        // Kept as an absolute path: later commands run elsewhere.
        let credentials = std::path::absolute(credentials)?;
        if !credentials.is_dir() {
            return Err(
                Exit::NotFound.error(format!("there is no folder {}", credentials.display()))
            );
        }
        let mut book = Book::load()?;
        if book.remotes.contains_key(&self.name) && !self.replace {
            return Err(Exit::Exists.error(format!(
                "a remote is called {:?} already; replace it with --replace",
                self.name
            )));
        }
        book.remotes.insert(self.name, Entry { url: self.url, credentials });
        let path = book.save()?;
        context.output.remark(&format!("Written to {}.", path.display()));
        context.output.print(&Remotes::from(book))
    }
}

impl Remove {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut book = Book::load()?;
        if book.remotes.remove(&self.name).is_none() {
            return Err(Exit::NotFound.error(format!("no remote is called {:?}", self.name)));
        }
        book.save()?;
        context.output.print(&Remotes::from(book))
    }
}
