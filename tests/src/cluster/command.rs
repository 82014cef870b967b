//! What a person types, as functions of a cluster.

use std::path::Path;

use anyhow::{Context, Result};
use patchmesh_proto::admin::{ListUpdatesRequest, UpdateRow};
use serde_json::Value;

use super::{Cluster, Node, Spec};
use crate::apt::Lines;
use crate::run::{Outcome, run};
use crate::vendor::files::FilesVendor;
use crate::vendor::repository::{COMPONENT, SUITE, architecture};
use crate::vendor::{Sample, Vendor};

/// What a decision brought about.
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    /// The generation that has it.
    pub generation: u64,
    /// How many revisions it changed.
    pub changed: u64,
}

pub(super) async fn init(node: &Node) -> Result<()> {
    run(node
        .command()?
        .args(["--output", "json", "init", "--name", "Test Company", "--node-name", &node.name])
        .args(["--site", "emea/hq", "--url", &node.url])
        .args(["--listen", &node.listen.to_string()]))
    .await?
    .success()?;
    Ok(())
}

pub(super) async fn join(node: &Node, token: &str) -> Result<Outcome> {
    run(node
        .command()?
        .args(["--output", "json", "join", "--url", &node.url])
        .args(["--listen", &node.listen.to_string()])
        .arg(token))
    .await
}

impl Cluster {
    /// `invite`: the token.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn invite(&self, spec: &Spec) -> Result<String> {
        let outcome = self.try_invite(spec).await?.success()?.json()?;
        text(&outcome, "token")
    }

    /// `invite`, however it ends.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn try_invite(&self, spec: &Spec) -> Result<Outcome> {
        let arguments = ["invite", &spec.name, "--role", spec.role, "--parent", &spec.parent];
        self.patchmesh(&self.primary()?.name, &[&arguments[..], &["--site", &spec.site]].concat())
            .await
    }

    /// `join` with a token, as a node of its own that is not part of the
    /// cluster's list.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn try_join(&self, folder_name: &str, token: &str) -> Result<Outcome> {
        join(&Node::new(&self.folder, folder_name)?, token).await
    }

    /// `source add` for a vendor.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn add_source(&self, name: &str, vendor: &Vendor, more: &[&str]) -> Result<()> {
        self.add_source_with_key(name, vendor, &vendor.keyring(), more).await
    }

    /// `source add` with a keyring of one's choice.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn add_source_with_key(
        &self,
        name: &str,
        vendor: &Vendor,
        keyring: &Path,
        more: &[&str],
    ) -> Result<()> {
        let keyring = keyring.display().to_string();
        let url = vendor.url();
        let architecture = architecture().await?;
        let arguments = ["source", "add", "apt", name, "--url", &url, "--suite", SUITE];
        let filter = ["--component", COMPONENT, "--architecture", &architecture];
        let arguments = [&arguments[..], &filter, &["--keyring", &keyring], more].concat();
        self.patchmesh(&self.primary()?.name, &arguments).await?.success()?;
        Ok(())
    }

    /// `source add files` for a folder with a signed manifest.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn add_files(&self, name: &str, vendor: &FilesVendor) -> Result<()> {
        let folder = vendor.folder().display().to_string();
        let keyring = vendor.keyring().display().to_string();
        let arguments = ["source", "add", "files", name, "--folder", &folder];
        let arguments = [&arguments[..], &["--keyring", &keyring]].concat();
        self.patchmesh(&self.primary()?.name, &arguments).await?.success()?;
        Ok(())
    }

    /// `source sync`, however it ends.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn sync(&self, name: &str) -> Result<Outcome> {
        self.patchmesh(&self.primary()?.name, &["source", "sync", name]).await
    }

    /// Every update that the primary knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn updates(&self) -> Result<Vec<UpdateRow>> {
        let request = ListUpdatesRequest { page_size: 10_000, ..ListUpdatesRequest::default() };
        let answer = self.primary()?.admin().await?.list_updates(request).await?;
        Ok(answer.into_inner().updates)
    }

    /// The newest revision of the update of that name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn revision(&self, name: &str) -> Result<String> {
        let mut updates = self.updates().await?;
        updates.retain(|update| update.revision.contains(&format!("/{name}@")));
        updates.sort_by_key(|update| update.entered_at.map(|at| (at.seconds, at.nanos)));
        updates.pop().map(|update| update.revision).with_context(|| format!("no update {name}"))
    }

    /// `approve`.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn approve(&self, stage: &str, revisions: &[String]) -> Result<Decision> {
        self.decide(&["approve", "--stage", stage], revisions).await
    }

    /// `promote`.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn promote(&self, revisions: &[String]) -> Result<Decision> {
        self.decide(&["promote"], revisions).await
    }

    /// The vendor of the source `vendor` releases a new package with so many bytes of
    /// content, and everybody is to have it.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn carry(&self, vendor: &Vendor, name: &str, bytes: usize) -> Result<()> {
        vendor.release(&[Sample::new(name, "1").with_bytes(bytes)]).await?;
        self.sync("vendor").await?.success()?;
        self.allow(&[self.revision(name).await?]).await
    }

    /// Everybody is to have these.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn allow(&self, revisions: &[String]) -> Result<()> {
        self.approve("validation", revisions).await?;
        self.promote(revisions).await?;
        Ok(())
    }

    /// The keys of the alerts of the node `name`, as the primary knows them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn alerts_of(&self, name: &str) -> Result<Vec<String>> {
        let arguments = ["alert", "list", "--all-nodes"];
        let listed = self.patchmesh(&self.primary()?.name, &arguments).await?.success()?.json()?;
        let alerts = listed["alerts"].as_array().context("alerts")?;
        let theirs = alerts.iter().filter(|alert| alert["node"] == name);
        Ok(theirs.filter_map(|alert| Some(alert["key"].as_str()?.to_owned())).collect())
    }

    /// `decline` in every stage.
    ///
    /// # Errors
    /// When the primary refuses.
    pub async fn decline(&self, comment: &str, revisions: &[String]) -> Result<Decision> {
        self.decide(&["decline", "--comment", comment], revisions).await
    }

    async fn decide(&self, arguments: &[&str], revisions: &[String]) -> Result<Decision> {
        let revisions: Vec<&str> = revisions.iter().map(String::as_str).collect();
        let arguments = [arguments, &revisions].concat();
        let outcome = self.patchmesh(&self.primary()?.name, &arguments).await?.success()?.json()?;
        Ok(Decision {
            generation: number(&outcome, "generation")?,
            changed: number(&outcome, "changed")?,
        })
    }

    /// `client-config` for a group, asked at the node that is to serve.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn client_config(&self, node: &str, group: &str) -> Result<Value> {
        self.patchmesh(node, &["client-config", "--group", group]).await?.success()?.json()
    }

    /// The same as apt takes it.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn apt_lines(&self, node: &str, group: &str) -> Result<Lines> {
        let config = self.client_config(node, group).await?;
        let file = |place: &str, content: &str| -> Result<(String, String)> {
            Ok((text(&config["files"], place)?, text(&config, content)?))
        };
        Ok(Lines {
            sources: text(&config, "sources")?,
            settings: text(&config, "settings")?,
            files: vec![file("ca", "ca_certificate")?, file("keyring", "repository_key")?],
        })
    }
}

fn text(value: &Value, field: &str) -> Result<String> {
    let found = value.get(field).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no text {field:?} in {value}"))
}

fn number(value: &Value, field: &str) -> Result<u64> {
    let found = value.get(field).and_then(Value::as_u64);
    found.with_context(|| format!("no number {field:?} in {value}"))
}
