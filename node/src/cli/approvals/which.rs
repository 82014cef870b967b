//! Names of approval sets, `[NODE:]STAGE[@VERSION]`, and how to get them.

use std::fmt;
use std::str::FromStr;

use patchmesh_proto::admin;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Stage;
use serde::Serialize;

use super::Entry;
use crate::cli::connect::Admin;
use crate::cli::exit::Exit;
use crate::cli::{grpc, stage};

/// Which set is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Which {
    /// As it stood on the command line.
    text: String,
    stage: Stage,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// What the asked node holds now.
    Present,
    /// A version that the asked node keeps.
    Version(u64),
    /// What another node last said it holds.
    HeldBy(NodeName),
}

/// Why a text names no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Stage(#[from] patchmesh_topology::node::UnknownWord),
    #[error(transparent)]
    Node(#[from] patchmesh_topology::name::Error),
    #[error("{0:?} is no version; write a number from 1 up")]
    Version(String),
    #[error("name a node or a version, not both: a node has one set of a stage at a time")]
    Both,
}

impl FromStr for Which {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (node, rest) = match text.split_once(':') {
            Some((node, rest)) => (Some(node), rest),
            None => (None, text),
        };
        let (stage, version) = match rest.split_once('@') {
            Some((stage, version)) => (stage, Some(version)),
            None => (rest, None),
        };
        let state = match (node, version) {
            (None, None) => State::Present,
            (Some(node), None) => State::HeldBy(node.parse()?),
            (None, Some(digits)) => match digits.parse() {
                Ok(0) | Err(_) => return Err(Error::Version(digits.to_owned())),
                Ok(version) => State::Version(version),
            },
            (Some(_), Some(_)) => return Err(Error::Both),
        };
        Ok(Self { text: text.to_owned(), stage: stage.parse()?, state })
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set and its decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Set {
    /// As it was named.
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) version: u64,
    /// BLAKE3 of the set's index document.
    pub(super) digest: String,
    #[serde(skip)]
    pub(super) entries: Vec<Entry>,
}

impl Which {
    /// Gets the set from the asked node. What another node holds is got by its
    /// version and has to have the digest that this node reported.
    pub(super) async fn get(&self, admin: &mut Admin) -> anyhow::Result<Set> {
        let reported = match &self.state {
            State::HeldBy(node) => Some(reported_by(admin, node, self.stage).await?),
            _ => None,
        };
        let version = match (&self.state, &reported) {
            (State::Version(version), _) => *version,
            (_, Some(status)) => status.version,
            _ => 0,
        };
        let request =
            admin::GetApprovalSetRequest { stage: stage::to_wire(self.stage).into(), version };
        let response = admin.get_approval_set(request).await.map_err(grpc::failure)?.into_inner();
        let status = response.set.unwrap_or_default();
        if reported.is_some_and(|reported| reported.digest != status.digest) {
            return Err(Exit::Failed.error(format!(
                "{self}: the node holds another set under version {version} than this mesh has; \
                 do not trust it, and see `patchmesh nodes`"
            )));
        }
        Ok(Set {
            name: self.text.clone(),
            stage: self.stage.to_string(),
            version: status.version,
            digest: hex::encode(&status.digest),
            entries: response.approvals.into_iter().map(Entry::from).collect(),
        })
    }
}

async fn reported_by(
    admin: &mut Admin,
    node: &NodeName,
    stage: Stage,
) -> anyhow::Result<patchmesh_proto::replication::ApprovalSetStatus> {
    let response =
        admin.list_nodes(admin::ListNodesRequest {}).await.map_err(grpc::failure)?.into_inner();
    let row = response
        .nodes
        .into_iter()
        .find(|row| row.node.as_ref().is_some_and(|known| known.name == node.as_str()))
        .ok_or_else(|| {
            Exit::NotFound.error(format!("no node is called {node}; see `patchmesh nodes`"))
        })?;
    let Some(status) = row.status else {
        return Err(Exit::NotFound.error(format!("nothing was heard of {node} here")));
    };
    status
        .approval_sets
        .into_iter()
        .find(|set| set.stage == stage.as_str())
        .ok_or_else(|| Exit::NotFound.error(format!("{node} reported no set for {stage}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_present_old_or_elsewhere() {
        let state = |text: &str| text.parse::<Which>().map(|which| which.state);
        assert_eq!(state("production"), Ok(State::Present));
        assert_eq!(state("validation@3"), Ok(State::Version(3)));
        let lyon = "lyon".parse().expect("a name");
        assert_eq!(state("lyon:production"), Ok(State::HeldBy(lyon)));
        for text in ["", "prod", "production@0", "production@x", "lyon:production@3", ":production"]
        {
            assert!(state(text).is_err(), "{text:?}");
        }
    }
}
