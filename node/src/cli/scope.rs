//! Who and what is meant: machines, and what of their updates.

use clap::Args;
use patchmesh_topology::name::{GroupName, MachineName, Site};
use patchmesh_topology::revision::{RevisionId, UpdateId};

// No doc comments on what is flattened: clap would take them for the description of the
// command.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Scope {
    /// One machine
    #[arg(long, value_name = "NAME")]
    machine: Option<MachineName>,
    /// A group, everywhere
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupName>,
    /// A site, and all below it
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
}

#[derive(Debug, Args)]
pub(super) struct Subject {
    /// Only this update, whatever its revision [default: everything]
    #[arg(long, value_name = "UPDATE", conflicts_with = "revision")]
    update: Option<UpdateId>,
    /// Only this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<RevisionId>,
}

/// As the services take what need not be given.
pub(super) fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

impl Scope {
    /// The names of a machine, a group and a site, as the services take them.
    pub(super) fn to_wire(&self) -> [String; 3] {
        [text(self.machine.as_ref()), text(self.group.as_ref()), text(self.site.as_ref())]
    }
}

impl Subject {
    /// The names of an update and a revision, likewise.
    pub(super) fn to_wire(&self) -> [String; 2] {
        [text(self.update.as_ref()), text(self.revision.as_ref())]
    }
}

/// Who is meant, for people.
pub(super) fn who(machine: &str, group: &str, site: &str) -> String {
    match [machine, group, site] {
        [machine, "", ""] => format!("machine {machine}"),
        ["", group, ""] => format!("group {group}"),
        [_, _, site] => format!("site {site}"),
    }
}

/// What is meant, for people.
pub(super) fn what(update: &str, revision: &str) -> String {
    match [update, revision] {
        ["", ""] => "everything".to_owned(),
        ["", revision] => revision.to_owned(),
        [update, _] => update.to_owned(),
    }
}
