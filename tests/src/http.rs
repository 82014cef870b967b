//! curl against a node: a client that knows nothing of us.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::run::run;

/// Distinguishes the files of one test.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// curl with the mesh's CA.
pub struct Curl {
    /// The file with the CA, PEM.
    pub ca: PathBuf,
    folder: PathBuf,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines in lower case, without the status.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer itself when its status is 200.
    ///
    /// # Errors
    /// Any other status.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.status == 200, "status {}: {}", self.status, self.text());
        Ok(self)
    }

    /// Writes the body.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.body).with_context(|| format!("could not write {}", path.display()))
    }
}

impl Curl {
    /// Trusts the CA of the mesh.
    ///
    /// # Errors
    /// When the mesh has no primary.
    pub fn trusting(cluster: &Cluster) -> Result<Self> {
        Ok(Self { ca: cluster.primary()?.ca(), folder: cluster.folder().to_owned() })
    }

    /// `curl URL` with more arguments.
    ///
    /// # Errors
    /// When curl fails; statuses other than 200 are no failure.
    pub async fn get(&self, url: &str, arguments: &[&str]) -> Result<Answer> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let body = self.folder.join(format!("curl-{number}.body"));
        let head = self.folder.join(format!("curl-{number}.head"));
        run(Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "120", "--cacert"])
            .arg(&self.ca)
            .arg("--dump-header")
            .arg(&head)
            .arg("--output")
            .arg(&body)
            .args(arguments)
            .arg(url))
        .await?
        .success()?;
        let answer = parse(&fs::read_to_string(&head)?, fs::read(&body).unwrap_or_default())?;
        let _ = fs::remove_file(head);
        let _ = fs::remove_file(body);
        Ok(answer)
    }
}

fn parse(head: &str, body: Vec<u8>) -> Result<Answer> {
    let mut lines = head.lines().filter(|line| !line.trim().is_empty());
    let status = lines
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no status line")?
        .parse()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Answer { status, headers, body })
}
