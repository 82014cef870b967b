//! `patchmesh brake`: what a site holds back.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use patchmesh_proto::{admin, convert, replication};
use patchmesh_topology::name::{BrakeName, RolloutName};
use patchmesh_topology::revision::{RevisionId, UpdateId};
use serde::Serialize;

use super::output::{Answer, table};
use super::{Context, answer, connect, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Brake {
    Pull(Box<Pull>),
    Release(Release),
    List(List),
    Ask(Ask),
    Unask(Unask),
}

/// Hold something back at this node's site
///
/// The node that is asked holds it for its own machines; nodes below have
/// brakes of their own. Headquarters sees it and cannot undo it. With neither
/// rollout, update nor revision, whatever opens from now on is held; what is
/// open stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh brake pull stocktaking --until 2026-12-31T18:00:00Z --reason 'tills must not restart'
  patchmesh brake pull no-kernel --update vendor:stable/linux \\
    --until 2026-12-31T18:00:00Z --reason 'the label printer fails'

JSON:
  {\"brake\", \"held\"}")]
pub(crate) struct Pull {
    /// Its name
    name: BrakeName,
    /// What a rollout opens
    #[arg(long, value_name = "NAME", group = "subject")]
    rollout: Option<RolloutName>,
    /// An update, whatever its revision
    #[arg(long, value_name = "UPDATE", group = "subject")]
    update: Option<UpdateId>,
    /// One revision
    #[arg(long, value_name = "REVISION", group = "subject")]
    revision: Option<RevisionId>,
    /// Until this instant
    #[arg(long, value_name = "TIME")]
    until: Timestamp,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Let go of what is held
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh brake release stocktaking

JSON:
  {\"brake\", \"held\"}")]
pub(crate) struct Release {
    /// Its name
    name: BrakeName,
}

/// List what is held here, and at the nodes below
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh brake list

JSON:
  {\"brakes\": [{\"node\", \"site\", \"name\", \"what\", \"since\", \"until\", \"by\", \"reason\",
   \"heard_at\" or null, \"ask\": {\"by\", \"at\", \"reason\"} or null}]}
  \"ask\" is what headquarters asks of the site: to end it.")]
pub(crate) struct List {}

/// Ask a site to end its brakes
///
/// At the primary. The ask is signed with the plans and reaches the site with them:
/// there it stands in `brake list` and as an alert. The site decides, and the brake
/// holds until it does. Of brakes that are pulled later nothing is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh brake ask emea/fr/lyon --reason 'it is being exploited'
  patchmesh brake ask lyon-2 --reason 'the printers are mended'

JSON:
  {\"whom\", \"asked\", \"generation\"}")]
pub(crate) struct Ask {
    /// A site with all below it, or the name of a node
    #[arg(value_name = "SITE|NODE")]
    target: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Ask a site no more to end its brakes
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh brake unask emea/fr/lyon

JSON:
  as `brake ask`")]
pub(crate) struct Unask {
    /// The site or node that was asked
    #[arg(value_name = "SITE|NODE")]
    target: String,
}

#[derive(Debug, Serialize)]
struct Asked {
    whom: String,
    asked: bool,
    generation: u64,
}

impl Answer for Asked {
    fn text(&self) -> String {
        let state = if self.asked { "is asked" } else { "is asked no more" };
        format!("{} {state} to end its brakes; generation {}\n", self.whom, self.generation)
    }
}

/// What headquarters asks.
#[derive(Debug, Serialize)]
struct Word {
    by: String,
    at: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Changed {
    brake: String,
    held: bool,
}

impl Answer for Changed {
    fn text(&self) -> String {
        let state = if self.held { "holds" } else { "is released" };
        format!("brake {} {state}\n", self.brake)
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    brakes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    node: String,
    site: String,
    name: String,
    what: String,
    since: Option<String>,
    until: Option<String>,
    by: String,
    reason: String,
    heard_at: Option<String>,
    ask: Option<Word>,
}

impl From<admin::NodeBrake> for Row {
    fn from(one: admin::NodeBrake) -> Self {
        let brake = one.brake.unwrap_or_default();
        let what = match [brake.rollout.as_str(), &brake.update, &brake.revision] {
            ["", "", ""] => "everything new".to_owned(),
            [rollout, "", ""] => format!("rollout {rollout}"),
            [_, update, revision] => format!("{update}{revision}"),
        };
        Self {
            node: one.node,
            site: one.site,
            what,
            since: answer::time(brake.since.as_ref()),
            until: answer::time(brake.until.as_ref()),
            name: brake.name,
            by: brake.by,
            reason: brake.reason,
            heard_at: answer::time(one.heard_at.as_ref()),
            ask: one.ask.map(|ask| Word {
                by: ask.by,
                at: answer::time(ask.at.as_ref()),
                reason: ask.reason,
            }),
        }
    }
}

impl Answer for Rows {
    fn text(&self) -> String {
        table(
            ["node", "site", "brake", "holds", "until", "by", "reason", "headquarters"],
            self.brakes.iter().map(|row| {
                [
                    row.node.clone(),
                    row.site.clone(),
                    row.name.clone(),
                    row.what.clone(),
                    answer::or_dash(row.until.as_deref()),
                    row.by.clone(),
                    row.reason.clone(),
                    match &row.ask {
                        Some(ask) => format!("asks to end it: {}", ask.reason),
                        None => "-".to_owned(),
                    },
                ]
            }),
        )
    }
}

impl Pull {
    fn to_wire(&self) -> replication::Brake {
        let text = |name: Option<String>| name.unwrap_or_default();
        replication::Brake {
            name: self.name.to_string(),
            rollout: text(self.rollout.as_ref().map(ToString::to_string)),
            update: text(self.update.as_ref().map(ToString::to_string)),
            revision: text(self.revision.as_ref().map(ToString::to_string)),
            reason: self.reason.clone(),
            // The node says who and when.
            by: String::new(),
            since: None,
            until: Some(convert::timestamp_to_wire(self.until)),
        }
    }
}

impl Brake {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = connect::brakes(&connect::Target::choose(&context.global)?)?;
        match self {
            Self::Pull(pull) => {
                let request = admin::PullBrakeRequest { brake: Some(pull.to_wire()) };
                client.pull_brake(request).await.map_err(grpc::failure)?;
                context.output.print(&Changed { brake: pull.name.to_string(), held: true })
            }
            Self::Release(Release { name }) => {
                let request = admin::ReleaseBrakeRequest { name: name.to_string() };
                client.release_brake(request).await.map_err(grpc::failure)?;
                context.output.print(&Changed { brake: name.to_string(), held: false })
            }
            Self::Ask(Ask { target, reason }) => {
                let request = admin::AskBrakeRequest { target, reason };
                let response = client.ask_brake(request).await.map_err(grpc::failure)?;
                let admin::AskBrakeResponse { generation, whom } = response.into_inner();
                context.output.print(&Asked { whom, asked: true, generation })
            }
            Self::Unask(Unask { target }) => {
                let request = admin::WithdrawBrakeAskRequest { target };
                let response = client.withdraw_brake_ask(request).await.map_err(grpc::failure)?;
                let admin::WithdrawBrakeAskResponse { generation, whom } = response.into_inner();
                context.output.print(&Asked { whom, asked: false, generation })
            }
            Self::List(List {}) => {
                let request = admin::ListBrakesRequest {};
                let response = client.list_brakes(request).await.map_err(grpc::failure)?;
                let brakes = response.into_inner().brakes.into_iter().map(Row::from).collect();
                context.output.print(&Rows { brakes })
            }
        }
    }
}
