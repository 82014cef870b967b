//! People with credentials on machines of their own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::cluster::{Cluster, Node, PRIMARY};
use crate::run::{Outcome, run};

/// A command on a machine that has no data folder.
///
/// # Errors
/// When its folder cannot be made.
pub fn elsewhere(cluster: &Cluster) -> Result<Command> {
    Node::new(cluster.folder(), "elsewhere")?.command()
}

/// Somebody with credentials on their own machine.
pub struct Person {
    /// Their name.
    pub name: String,
    /// Where their keys are.
    pub credentials: PathBuf,
    /// The primary.
    pub url: String,
}

impl Person {
    /// Invites and joins, by way of the primary or another node.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn join(cluster: &Cluster, name: &str, roles: &[&str], via: &str) -> Result<Self> {
        let roles: Vec<_> = roles.iter().flat_map(|role| ["--role", role]).collect();
        let arguments = [&["user", "invite", name, "--via", via][..], &roles].concat();
        let invited = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
        let token = invited["token"].as_str().context("no token")?.to_owned();
        let credentials = cluster.folder().join(format!("person-{name}"));
        let url = cluster.primary()?.url.clone();
        let person = Self { name: name.to_owned(), credentials, url };
        person.local(cluster, &["user", "join", &token]).await?.success()?;
        Ok(person)
    }

    /// A command on the person's own machine that asks nobody.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn local(&self, cluster: &Cluster, arguments: &[&str]) -> Result<Outcome> {
        let mut command = elsewhere(cluster)?;
        command.args(["--output", "json", "--credentials"]);
        command.arg(&self.credentials).args(arguments);
        run(&mut command).await
    }

    /// A command to the primary.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn asks(&self, cluster: &Cluster, arguments: &[&str]) -> Result<Outcome> {
        let arguments = [arguments, &["--node", &self.url]].concat();
        self.local(cluster, &arguments).await
    }

    /// The file with the key that they sign with.
    #[must_use]
    pub fn key(&self) -> String {
        self.credentials.join("signing.pem").display().to_string()
    }

    /// Signs what waits under a number.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn signs(&self, cluster: &Cluster, id: u64) -> Result<Outcome> {
        let id = id.to_string();
        self.asks(cluster, &["pending", "sign", &id, "--yes", "--key", &self.key()]).await
    }
}
