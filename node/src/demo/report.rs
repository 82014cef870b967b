//! What `demo --output json` prints: one object.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::files::FilesReport;
use crate::cli::answer::ApprovalSet;

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether all of it held.
    pub(crate) ok: bool,
    /// Why not, naming the node.
    pub(crate) problem: Option<String>,
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) machines: Vec<MachineReport>,
    /// What became of the second vendor's updates.
    pub(crate) files: FilesReport,
    pub(crate) seconds: f64,
    /// Where the data folders and logs are.
    pub(crate) folder: PathBuf,
}

/// One node, by its own word and by what machines got from it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) site: String,
    pub(crate) url: String,
    /// Of its process; absent once it has ended.
    pub(crate) pid: Option<u32>,
    /// Absent where it did not answer.
    pub(crate) generation: Option<u64>,
    /// By stage.
    pub(crate) approval_set: BTreeMap<String, ApprovalSet>,
    /// Its own word agrees with the primary's, and a machine, if it serves
    /// any, really downloaded everything from it.
    pub(crate) converged: bool,
    pub(crate) problem: Option<String>,
}

/// One machine: a real apt client, or curl.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MachineReport {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) node: String,
    /// What it downloaded and checked, as `PACKAGE=VERSION`.
    pub(crate) updates: Vec<String>,
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// An error with all its causes on one line.
pub(crate) fn with_causes(error: &super::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
