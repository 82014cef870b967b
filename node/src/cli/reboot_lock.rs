//! `patchmesh reboot-lock`: machines that restart, so many of a group at once.

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use patchmesh_topology::name::MachineName;
use serde::Serialize;

use super::output::{Answer, table};
use super::{Context, answer, connect, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum RebootLock {
    List(List),
    Release(Release),
}

/// List the machines that have a slot to restart at this node, and since when
///
/// How many of a group there are is set with `group set --reboot-slots`. A machine
/// gives its slot back when it works again; one that does not come back keeps it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh reboot-lock list

JSON:
  {\"slots\": [{\"machine\", \"group\", \"since\"}]}")]
pub(crate) struct List {}

/// Take a machine's slot away, so that another one may restart
///
/// At the node that the machine talks to, for administrators of its site.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh reboot-lock release pc-0815

JSON:
  {\"machine\", \"released\"}")]
pub(crate) struct Release {
    /// The machine
    machine: MachineName,
}

#[derive(Debug, Serialize)]
struct Rows {
    slots: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    machine: String,
    group: String,
    since: Option<String>,
}

impl Answer for Rows {
    fn text(&self) -> String {
        if self.slots.is_empty() {
            return "No machine has a slot to restart at this node.\n".to_owned();
        }
        let rows = self.slots.iter().map(|slot| {
            let since = answer::or_dash(slot.since.as_deref());
            [slot.machine.clone(), slot.group.clone(), since]
        });
        table(["machine", "group", "since"], rows)
    }
}

#[derive(Debug, Serialize)]
struct Released {
    machine: String,
    released: bool,
}

impl Answer for Released {
    fn text(&self) -> String {
        format!("machine {} has no slot any more\n", self.machine)
    }
}

impl RebootLock {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = connect::reboot_locks(&connect::Target::choose(&context.global)?)?;
        match self {
            Self::List(List {}) => {
                let request = admin::ListRebootSlotsRequest {};
                let response = client.list_reboot_slots(request).await.map_err(grpc::failure)?;
                let row = |slot: admin::RebootSlot| Row {
                    since: answer::time(slot.since.as_ref()),
                    machine: slot.machine,
                    group: slot.group,
                };
                let slots = response.into_inner().slots.into_iter().map(row).collect();
                context.output.print(&Rows { slots })
            }
            Self::Release(Release { machine }) => {
                let machine = machine.to_string();
                let request = admin::ReleaseRebootSlotRequest { machine: machine.clone() };
                client.release_reboot_slot(request).await.map_err(grpc::failure)?;
                context.output.print(&Released { machine, released: true })
            }
        }
    }
}
