//! `patchmesh rollout simulate`: what a plan would do, drawn.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use patchmesh_topology::rollout::gate::Counts;
use patchmesh_topology::simulate::{Carried, Event, Geography, Outcome, simulate, svg};
use serde::Serialize;

use super::file;
use crate::cli::exit::Exit;
use crate::cli::output::{self, Answer, table};
use crate::cli::{Context, answer};

mod mesh;
mod world;

/// Lines that the table names: those that bring content last.
const SLOWEST: usize = 5;

/// Simulate a plan in the running mesh, or in a described one
///
/// The planner that runs in the mesh is asked, with its gates, windows and
/// freezes; simulated are lines that bring the content, machines that are
/// switched on at some hours, and an operator. The same plan, world and seed
/// come to the same outcome. Without --world the primary is asked for sites, lines,
/// freezes and machines; nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh rollout simulate december.toml
  patchmesh rollout simulate --describe > world.toml
  patchmesh rollout simulate --example > world.toml
  patchmesh rollout simulate december.toml --world world.toml --svg december.svg
  patchmesh --output json rollout simulate december.toml --world world.toml --seed 2

JSON:
  {\"rollout\", \"start\", \"end\", \"counts\": COUNTS, \"uncovered\", \"headline\",
   \"geographies\": [{\"place\", \"sites\", \"without_content\", \"counts\": COUNTS, \"never_heard\",
     \"first\", \"half\", \"most\", \"finished\", \"deadline_met\", \"deadline_missed\", \"curve\": [NUMBER]}],
   \"lines\": [{\"site\", \"bytes\", \"arrived\"}],
   \"events\": [{\"at\", \"wave\", \"what\", \"is_stop\", \"counts\": COUNTS, \"next\": [TEXT]}],
   \"waves\": [{\"name\", \"status\", \"counts\": COUNTS, \"next\": [TEXT]}]}
  COUNTS: {\"machines\", \"reached\", \"installed\", \"failed\"}
  Times are null where it did not come to that; \"curve\" has, hour by hour, the
  machines that have it; \"most\" are 95 %.")]
pub(crate) struct Simulate {
    /// The plan
    #[arg(value_name = "FILE", required_unless_present_any = ["example", "describe"])]
    plan: Option<PathBuf>,
    /// The described mesh [default: the running one]
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// Decides what is left to chance, instead of the world's seed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Draws the outcome into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What a site of the running mesh lacks of the update
    #[arg(long, value_name = "SIZE", default_value = "350 MB", conflicts_with_all = ["world", "example"])]
    size: String,
    /// Only print a described mesh to go on from, with every field explained
    #[arg(long, conflicts_with_all = ["plan", "world", "seed", "svg"])]
    example: bool,
    /// Only print the running mesh, described, to go on from
    #[arg(long, conflicts_with_all = ["plan", "world", "seed", "svg", "example"])]
    describe: bool,
}

#[derive(Debug, Serialize)]
struct CountsAnswer {
    machines: u64,
    reached: u64,
    installed: u64,
    failed: u64,
}

impl From<Counts> for CountsAnswer {
    fn from(counts: Counts) -> Self {
        let Counts { machines, reached, installed, failed } = counts;
        Self { machines, reached, installed, failed }
    }
}

#[derive(Debug, Serialize)]
struct GeographyAnswer {
    place: String,
    sites: u64,
    without_content: u64,
    counts: CountsAnswer,
    never_heard: u64,
    first: Option<String>,
    half: Option<String>,
    most: Option<String>,
    finished: Option<String>,
    deadline_met: u64,
    deadline_missed: u64,
    curve: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct LineAnswer {
    site: String,
    bytes: u64,
    arrived: Option<String>,
}

#[derive(Debug, Serialize)]
struct EventAnswer {
    at: String,
    wave: Option<String>,
    what: String,
    is_stop: bool,
    counts: CountsAnswer,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct WaveAnswer {
    name: String,
    status: String,
    counts: CountsAnswer,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Simulated {
    rollout: String,
    start: String,
    end: String,
    counts: CountsAnswer,
    uncovered: u64,
    headline: String,
    geographies: Vec<GeographyAnswer>,
    lines: Vec<LineAnswer>,
    events: Vec<EventAnswer>,
    waves: Vec<WaveAnswer>,
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

impl From<Geography> for GeographyAnswer {
    fn from(one: Geography) -> Self {
        Self {
            place: one.place.to_string(),
            sites: one.sites,
            without_content: one.without_content,
            counts: one.counts.into(),
            never_heard: one.never,
            first: time(one.first),
            half: time(one.half),
            most: time(one.most),
            finished: time(one.finished),
            deadline_met: one.met,
            deadline_missed: one.missed,
            curve: one.curve,
        }
    }
}

impl From<Carried> for LineAnswer {
    fn from(one: Carried) -> Self {
        Self { site: one.site.to_string(), bytes: one.bytes, arrived: time(one.arrived) }
    }
}

impl From<Event> for EventAnswer {
    fn from(one: Event) -> Self {
        let Event { at, wave, what, is_stop, counts, next } = one;
        Self { at: at.to_string(), wave, what, is_stop, counts: counts.into(), next }
    }
}

impl From<Outcome> for Simulated {
    fn from(outcome: Outcome) -> Self {
        let waves = outcome.explanation.waves.into_iter().map(|wave| WaveAnswer {
            name: wave.name,
            status: wave.status,
            counts: wave.counts.into(),
            next: wave.next,
        });
        Self {
            rollout: outcome.rollout.to_string(),
            start: outcome.start.to_string(),
            end: outcome.end.to_string(),
            counts: outcome.total.into(),
            uncovered: outcome.uncovered,
            headline: outcome.explanation.headline,
            geographies: outcome.geographies.into_iter().map(Into::into).collect(),
            lines: outcome.lines.into_iter().map(Into::into).collect(),
            events: outcome.events.into_iter().map(Into::into).collect(),
            waves: waves.collect(),
        }
    }
}

/// `2026-12-03 08:15`: the minute is exact enough for a table.
fn minute(at: Option<&String>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| at.chars().take(16).collect::<String>().replace('T', " "),
    )
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

impl Simulated {
    fn timeline(&self) -> String {
        let rows = self.geographies.iter().map(|one| {
            [
                one.place.clone(),
                one.sites.to_string(),
                one.counts.machines.to_string(),
                minute(one.first.as_ref()),
                minute(one.half.as_ref()),
                minute(one.most.as_ref()),
                minute(one.finished.as_ref()),
                percent(one.counts.installed, one.counts.machines),
                one.counts.failed.to_string(),
                one.never_heard.to_string(),
                one.deadline_met.to_string(),
                one.deadline_missed.to_string(),
            ]
        });
        let header = [
            "geography",
            "sites",
            "machines",
            "first",
            "50 %",
            "95 %",
            "finished",
            "have it",
            "failed",
            "silent",
            "in time",
            "too late",
        ];
        table(header, rows)
    }

    fn story(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            let at = minute(Some(&event.at));
            let wave = event.wave.as_ref().map_or_else(|| "all of it".to_owned(), Clone::clone);
            let counts = &event.counts;
            let said = match counts.machines {
                0 => String::new(),
                machines => {
                    format!(" ({} of {machines} reached, {} failed)", counts.reached, counts.failed)
                }
            };
            text.push_str(&format!("{at}  {wave}: {}{said}\n", event.what));
            for next in &event.next {
                text.push_str(&format!("                    {next}\n"));
            }
        }
        text
    }

    /// Lines that bring content last, and those that did not.
    fn slowest(&self) -> String {
        let mut lines: Vec<&LineAnswer> = self.lines.iter().filter(|line| line.bytes > 0).collect();
        // None, which is never, comes last of all.
        lines.sort_by_key(|line| {
            (line.arrived.is_none(), line.arrived.clone(), std::cmp::Reverse(line.bytes))
        });
        let rows = lines.iter().rev().take(SLOWEST).map(|line| {
            [line.site.clone(), answer::size(line.bytes), minute(line.arrived.as_ref())]
        });
        table(["line to", "brought", "content there"], rows)
    }
}

impl Answer for Simulated {
    fn text(&self) -> String {
        let mut text = self.timeline();
        text.push('\n');
        text.push_str(&self.story());
        let bytes: u64 = self.lines.iter().map(|line| line.bytes).sum();
        let lines = answer::counted(self.lines.len() as u64, "line");
        text.push_str(&format!("\n{lines} brought {}; the last:\n", answer::size(bytes)));
        text.push_str(&self.slowest());
        text.push_str(&format!("\n{} at {}\n", self.headline, minute(Some(&self.end))));
        for wave in &self.waves {
            for next in &wave.next {
                text.push_str(&format!("  {}: {next}\n", wave.name));
            }
        }
        if self.uncovered > 0 {
            let machines = answer::counted(self.uncovered, "machine");
            text.push_str(&format!("no wave goes to {machines}\n"));
        }
        text
    }
}

impl Simulate {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if self.example {
            return output::write(world::EXAMPLE);
        }
        let Some(plan) = self.plan else {
            let mesh = mesh::ask(context).await?;
            return output::write(&mesh.describe(&self.size, Timestamp::now()));
        };
        let rollout = file::read(&plan)?;
        let mut world = match &self.world {
            Some(path) => world::read(path)?,
            None => {
                let mesh = mesh::ask(context).await?;
                context.output.remark(&mesh.known());
                let text = mesh.describe(&self.size, Timestamp::now());
                world::parse(&text).map_err(|error| Exit::BadData.error(error))?
            }
        };
        world.seed = self.seed.unwrap_or(world.seed);
        let outcome = simulate(&world, &rollout)
            .map_err(|error| Exit::BadData.error(crate::log::in_one_line(&error)))?;
        if let Some(path) = &self.svg {
            let problem = || format!("cannot write {}", path.display());
            std::fs::write(path, svg(&outcome)).with_context(problem)?;
        }
        context.output.print(&Simulated::from(outcome))
    }
}
