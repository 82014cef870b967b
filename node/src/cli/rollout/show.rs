//! `patchmesh rollout show`: where rollouts stand.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::RolloutName;
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

/// Show where rollouts stand
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh rollout show
  patchmesh rollout show december

JSON:
  {\"counted\", \"rollouts\": [{\"name\", \"stage\", \"action\", \"priority\", \"order\", \"revisions\",
   \"headline\", \"stop\": STOP or null, \"waves\": [WAVE]}]}
  STOP: {\"kind\", \"at\", \"reason\"}
  WAVE: {\"name\", \"status\", \"geographies\": [SITE or @GROUP], \"groups\": [NAME], \"share\",
   \"max_concurrent\": LIMIT or null, \"machines\", \"reached\", \"installed\", \"failed\",
   \"paused\": STOP or null, \"unready\": TEXT or null, \"next\": [TEXT]}
  LIMIT: {\"sites\": NUMBER or null, \"machines\": NUMBER or null}
  Machines are counted at the primary alone; elsewhere \"counted\" is false.")]
pub(crate) struct Show {
    /// Its name [default: every rollout]
    name: Option<RolloutName>,
}

#[derive(Debug, Serialize)]
pub(super) struct Standings {
    counted: bool,
    pub(super) rollouts: Vec<Standing>,
}

#[derive(Debug, Serialize)]
pub(super) struct Standing {
    pub(super) name: String,
    stage: &'static str,
    action: String,
    priority: String,
    order: String,
    revisions: u64,
    pub(super) headline: String,
    stop: Option<Stop>,
    pub(super) waves: Vec<WaveRow>,
}

#[derive(Debug, Serialize)]
struct Stop {
    kind: String,
    at: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Limit {
    sites: Option<u32>,
    machines: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct WaveRow {
    pub(super) name: String,
    pub(super) status: String,
    geographies: Vec<String>,
    groups: Vec<String>,
    share: String,
    max_concurrent: Option<Limit>,
    pub(super) machines: u64,
    pub(super) reached: u64,
    pub(super) installed: u64,
    pub(super) failed: u64,
    paused: Option<Stop>,
    unready: Option<String>,
    pub(super) next: Vec<String>,
}

impl From<patchmesh_proto::wire::Stop> for Stop {
    fn from(stop: patchmesh_proto::wire::Stop) -> Self {
        Self { kind: stop.kind, at: answer::time(stop.at.as_ref()), reason: stop.reason }
    }
}

impl From<admin::RolloutStanding> for Standing {
    fn from(standing: admin::RolloutStanding) -> Self {
        let rollout = standing.rollout.unwrap_or_default();
        let state = standing.state.unwrap_or_default();
        let mut paused = state.waves.into_iter().map(|wave| wave.paused.map(Stop::from));
        let plans = rollout.waves.iter();
        let waves = standing.waves.into_iter().zip(plans).map(|(wave, plan)| WaveRow {
            name: wave.name,
            status: wave.status,
            geographies: geographies(plan),
            groups: plan.groups.clone(),
            share: share(plan.share),
            max_concurrent: plan
                .max_concurrent
                .map(|limit| Limit { sites: limit.sites, machines: limit.machines }),
            machines: wave.machines,
            reached: wave.reached,
            installed: wave.installed,
            failed: wave.failed,
            paused: paused.next().flatten(),
            unready: answer::some(wave.unready),
            next: wave.next,
        });
        let waves = waves.collect();
        Self {
            stage: answer::stage(rollout.stage()),
            order: rollout.control.map_or_else(|| "run".to_owned(), |control| control.order),
            name: rollout.name,
            action: rollout.action,
            priority: rollout.priority,
            revisions: standing.revisions,
            headline: standing.headline,
            stop: state.stop.map(Stop::from),
            waves,
        }
    }
}

/// Sites, and groups of sites after `@`.
fn geographies(plan: &patchmesh_proto::wire::Wave) -> Vec<String> {
    let groups = plan.site_groups.iter().map(|group| format!("@{group}"));
    plan.geographies.iter().cloned().chain(groups).collect()
}

fn share(parts: u32) -> String {
    let parts = u16::try_from(parts).ok().filter(|parts| *parts > 0);
    let share = parts.and_then(patchmesh_topology::rollout::Share::from_ten_thousandths);
    share.unwrap_or(patchmesh_topology::rollout::Share::ALL).to_string()
}

impl WaveRow {
    fn place(&self) -> String {
        let list = |all: &str, list: &[String]| {
            if list.is_empty() { all.to_owned() } else { list.join(",") }
        };
        let groups = list("every group", &self.groups);
        let place = format!("{}; {groups}", list("everywhere", &self.geographies));
        if self.share == "100 %" { place } else { format!("{place}; {}", self.share) }
    }
}

impl Answer for Standings {
    fn text(&self) -> String {
        if let [one] = self.rollouts.as_slice() {
            return one.text(self.counted);
        }
        table(
            ["rollout", "stage", "revisions", "waves", "stands"],
            self.rollouts.iter().map(|one| {
                [
                    one.name.clone(),
                    one.stage.to_owned(),
                    one.revisions.to_string(),
                    one.waves.len().to_string(),
                    one.headline.clone(),
                ]
            }),
        )
    }
}

impl Standing {
    fn text(&self, counted: bool) -> String {
        let revisions = answer::counted(self.revisions, "revision");
        let mut text = format!(
            "{}\n{}, {}, {}, {revisions}\n\n",
            self.headline, self.stage, self.action, self.priority
        );
        text.push_str(&table(
            ["wave", "where, for whom", "status", "machines", "reached", "installed", "failed"],
            self.waves.iter().map(|wave| {
                let count = |count: u64| if counted { count.to_string() } else { "-".to_owned() };
                [
                    wave.name.clone(),
                    wave.place(),
                    wave.status.clone(),
                    count(wave.machines),
                    count(wave.reached),
                    count(wave.installed),
                    count(wave.failed),
                ]
            }),
        ));
        for wave in &self.waves {
            if let Some(unready) = &wave.unready {
                text.push_str(&format!("wave {}: {unready}\n", wave.name));
            }
        }
        text
    }
}

/// Asks where rollouts stand.
pub(super) async fn ask(
    context: &Context,
    name: Option<&RolloutName>,
) -> anyhow::Result<Standings> {
    let name = name.map(ToString::to_string).unwrap_or_default();
    let request = admin::ListRolloutsRequest { name };
    let response =
        context.rollouts()?.list_rollouts(request).await.map_err(grpc::failure)?.into_inner();
    let rollouts = response.rollouts.into_iter().map(Standing::from).collect();
    Ok(Standings { counted: response.counted, rollouts })
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        context.output.print(&ask(context, self.name.as_ref()).await?)
    }
}
