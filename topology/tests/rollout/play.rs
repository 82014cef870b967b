//! The words of a scenario's second part, and what happens then.
//!
//! ```text
//! 2026-11-02T09:00Z start spring
//! … pause|halt|withdraw spring REASON     … resume spring     … release spring pilot
//! … heard spring pilot emea/fr/paris workstations 100 90 88 2
//!      (machines, reached, installed, failed)
//! … approve deb:stable/openssl@2 workstations spring
//! … freeze year-end 2026-12-20T00:00Z 2027-01-04T00:00Z emea
//! … sites big-plants emea/fr/paris apac/jp      a group of sites, from now on
//! … exception printers site emea/fr 2027-01-01T00:00Z REASON
//! … brake fair everything|REVISION 2026-12-24T00:00Z REASON   (held at the site asked for)
//! … lacks emea/de/bonn until Tuesday      … has emea/de/bonn
//! … cut NODE     … mend NODE              a node goes on with the documents it has
//! … kill         … restart                what is decided in between is never published
//! … look                                  nothing but time
//! … explain spring     … ask pc-7 [at NODE]     … installs pc-7 deb:stable/openssl@2
//! ```
//!
//! Between two events time passes as it does at the primary: whenever the
//! planner wanted to be asked again, it is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchmesh_topology::approval::{Approval, ApprovalSet, Decision};
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::{GroupName, MachineName, RolloutName, Site};
use patchmesh_topology::node::Stage;
use patchmesh_topology::offer::{Machine, Offer};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::control::Order;
use patchmesh_topology::rollout::gate::Counts;
use patchmesh_topology::rollout::plan::{Changed, Effect, Planner, Tallies, Tally, plan};
use patchmesh_topology::rollout::{
    Brake, Brakes, Exception, Freeze, Rollout, RolloutSet, WaveStates, brake, exception,
    explain::{Input, explain},
};

use crate::render;
use crate::script::{self, Fault, all, word};

/// The documents that a node has.
#[derive(Clone)]
struct Documents {
    approvals: ApprovalSet,
    plans: RolloutSet,
    states: WaveStates,
}

struct Owner {
    group: GroupName,
    site: Site,
    installed: BTreeSet<RevisionId>,
}

/// A mesh in which a scenario is played.
pub(crate) struct Play {
    now: Timestamp,
    zones: BTreeMap<Site, Zone>,
    machines: BTreeMap<MachineName, Owner>,
    /// What the primary has published.
    published: Documents,
    /// What nodes that are cut off have instead.
    cut: BTreeMap<String, Documents>,
    planner: Planner,
    tallies: Tallies,
    unready: BTreeMap<Site, String>,
    brakes: Brakes,
    /// What the primary decides is never published.
    is_killed: bool,
}

impl Play {
    pub(crate) fn new() -> Self {
        let approvals = ApprovalSet::empty(Stage::Production);
        let (plans, states) = (RolloutSet::default(), WaveStates::new());
        Self {
            now: Timestamp::UNIX_EPOCH,
            zones: BTreeMap::new(),
            machines: BTreeMap::new(),
            published: Documents { approvals, plans, states },
            cut: BTreeMap::new(),
            planner: Planner::default(),
            tallies: Tallies::new(),
            unready: BTreeMap::new(),
            brakes: Brakes::new(),
            is_killed: false,
        }
    }

    /// Plays a line and says what came of it.
    pub(crate) fn line(&mut self, line: &str) -> Result<Vec<String>, Fault> {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(Vec::new());
        }
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            self.describe(text, line.starts_with(' '))?;
            return Ok(Vec::new());
        }
        let (at, event) = text.split_once(' ').ok_or("an event follows its time")?;
        let at: Timestamp = word(Some(at), "a time")?;
        if at < self.now {
            return Err(format!("time went back from {}", self.now));
        }
        if self.now == Timestamp::UNIX_EPOCH {
            // The first round of a planner looks at all.
            self.now = at;
            self.round(&Changed::All)?;
        }
        let mut said = self.pass(at)?;
        self.now = at;
        said.extend(self.happen(event)?);
        Ok(said)
    }

    fn describe(&mut self, text: &str, is_detail: bool) -> Result<(), Fault> {
        if is_detail {
            // The newest plan is the one described: names are in order of the text.
            let rollout = self.published.plans.rollouts.values_mut().next_back();
            return script::detail(rollout.ok_or("no rollout for this line")?, text);
        }
        let mut words = text.split_whitespace();
        match words.next() {
            Some("site") => {
                let (site, zone) = (word(words.next(), "a site")?, word(words.next(), "a zone")?);
                self.zones.insert(site, zone);
            }
            Some("machine") => {
                let name = word(words.next(), "a machine")?;
                let (group, site) = (word(words.next(), "a group")?, word(words.next(), "a site")?);
                self.machines.insert(name, Owner { group, site, installed: BTreeSet::new() });
            }
            Some("approve") => self.approve(words)?,
            Some("rollout") => {
                let rollout = script::rollout(words.next().unwrap_or_default())?;
                let is_last = self.published.plans.rollouts.keys().all(|one| *one < rollout.name);
                if !is_last {
                    return Err("rollouts are described in the order of their names".to_owned());
                }
                self.published.plans.rollouts.insert(rollout.name.clone(), rollout);
            }
            word => return Err(format!("nobody knows {word:?}")),
        }
        Ok(())
    }

    /// Lets time pass: the planner is asked whenever it wanted to be.
    fn pass(&mut self, until: Timestamp) -> Result<Vec<String>, Fault> {
        let mut said = Vec::new();
        while let Some(wake) = self.planner.wake().filter(|wake| *wake < until) {
            if wake <= self.now {
                return Err(format!("the planner wants to be asked at {wake}, which has passed"));
            }
            self.now = wake;
            said.extend(self.round(&Changed::Only(BTreeSet::new()))?);
        }
        Ok(said)
    }

    /// Plans, and publishes what was decided.
    fn round(&mut self, changed: &Changed) -> Result<Vec<String>, Fault> {
        let before = self.planner.states().clone();
        let plans = &self.published.plans;
        // The machines of every wave are counted; there may be none.
        for plan in plans.rollouts.values() {
            let tallies = self.tallies.entry(plan.name.clone()).or_default();
            tallies.resize_with(plan.waves.len(), Tally::default);
        }
        let effects = self.planner.round(plans, &self.tallies, changed, self.now);
        let (states, in_full) = plan(plans, &before, &self.tallies, self.now);
        if (self.planner.states(), &effects) != (&states, &in_full) {
            return Err(format!("planned in full: {in_full:?}; only what changed: {effects:?}"));
        }
        let lost = if self.is_killed { "never published: " } else { "" };
        if !self.is_killed {
            self.published.states = states;
        }
        let said = |effect: &Effect| format!("{}: {lost}{}", self.now, render::effect(effect));
        Ok(effects.iter().map(said).collect())
    }

    fn happen(&mut self, event: &str) -> Result<Vec<String>, Fault> {
        let mut words = event.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let mut changed = BTreeSet::new();
        match verb {
            "start" | "resume" => changed = self.order(Order::Run, words)?,
            "pause" => changed = self.order(Order::Pause, words)?,
            "halt" => changed = self.order(Order::Halt, words)?,
            "withdraw" => changed = self.order(Order::Withdraw, words)?,
            "release" => changed = self.release(words)?,
            "heard" => changed = self.heard(words)?,
            "approve" => self.approve(words)?,
            "freeze" => self.freeze(words)?,
            "sites" => {
                let (name, sites) = (word(words.next(), "a name")?, all(words, "a site")?);
                let grouped = sites.into_iter().collect();
                let set = self.published.plans.set_site_group(name, grouped);
                set.map_err(|rejection| rejection.to_string())?;
                changed = self.published.plans.rollouts.keys().cloned().collect();
            }
            "exception" => self.exception(words)?,
            "brake" => self.brake(words)?,
            "lacks" => {
                let site = word(words.next(), "a site")?;
                self.unready.insert(site, words.collect::<Vec<_>>().join(" "));
            }
            "has" => drop(self.unready.remove(&word::<Site>(words.next(), "a site")?)),
            "cut" => {
                let node = words.next().ok_or("which node?")?;
                self.cut.insert(node.to_owned(), self.published.clone());
            }
            "mend" => drop(self.cut.remove(words.next().unwrap_or_default())),
            "kill" => self.is_killed = true,
            "restart" => {
                self.is_killed = false;
                self.planner = Planner::new(self.published.states.clone());
                return self.round(&Changed::All);
            }
            "look" => {}
            "installs" => {
                let machine: MachineName = word(words.next(), "a machine")?;
                let owner = self.machines.get_mut(&machine).ok_or("no such machine")?;
                owner.installed.insert(word(words.next(), "a revision")?);
            }
            "explain" | "ask" => {}
            _ => return Err(format!("nobody knows {verb}")),
        }
        let mut said = self.round(&Changed::Only(changed))?;
        let mut words = event.split_whitespace().skip(1);
        match verb {
            "explain" => said.extend(self.explain(words.next())?),
            "ask" => said.extend(self.ask(words.next(), words.nth(1))?),
            _ => {}
        }
        Ok(said)
    }

    fn plan_mut(&mut self, name: Option<&str>) -> Result<&mut Rollout, Fault> {
        let name: RolloutName = word(name, "a rollout")?;
        self.published.plans.rollouts.get_mut(&name).ok_or_else(|| format!("no rollout {name}"))
    }

    fn order<'a>(
        &mut self,
        order: Order,
        mut words: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeSet<RolloutName>, Fault> {
        let now = self.now;
        let plan = self.plan_mut(words.next())?;
        let reason = words.collect::<Vec<_>>().join(" ");
        let control = plan.control.order(order, now, "ada", &reason);
        plan.control = control.map_err(|refused| refused.to_string())?;
        Ok([plan.name.clone()].into())
    }

    fn release<'a>(
        &mut self,
        mut words: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeSet<RolloutName>, Fault> {
        let now = self.now;
        let plan = self.plan_mut(words.next())?;
        let wave = words.next();
        let wave = plan.waves.iter_mut().find(|one| Some(one.name.as_str()) == wave);
        wave.ok_or("no such wave")?.released = Some(now);
        Ok([plan.name.clone()].into())
    }

    fn heard<'a>(
        &mut self,
        mut words: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeSet<RolloutName>, Fault> {
        let plan = self.plan_mut(words.next())?;
        let (name, waves) = (plan.name.clone(), plan.waves.len());
        let wave = words.next();
        let index = plan.waves.iter().position(|one| Some(one.name.as_str()) == wave);
        let index = index.ok_or("no such wave")?;
        let (site, group) = (word(words.next(), "a site")?, word(words.next(), "a group")?);
        let numbers: Vec<u64> = all(words, "a number")?;
        let [machines, reached, installed, failed] = numbers[..] else {
            return Err("four numbers: machines, reached, installed, failed".to_owned());
        };
        let tallies = self.tallies.entry(name.clone()).or_default();
        tallies.resize_with(waves, Tally::default);
        tallies[index].set(site, group, Counts { machines, reached, installed, failed });
        Ok([name].into())
    }

    fn approve<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let (revision, group) = (word(words.next(), "a revision")?, word(words.next(), "a group")?);
        let decision = Decision::Approved(word(words.next(), "a rollout")?);
        let (by, at) = ("ada".to_owned(), self.now);
        let approval = Approval { decision, by, at, comment: String::new(), rule: String::new() };
        self.published.approvals.entries.insert((revision, group), approval);
        Ok(())
    }

    fn freeze<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let name = word(words.next(), "a name")?;
        let (from, until) = (word(words.next(), "a time")?, word(words.next(), "a time")?);
        let (geographies, reason) = (all(words, "a geography")?, "end of year".to_owned());
        let freeze = Freeze { geographies, from, until, reason, spares_urgent: true };
        self.published.plans.freezes.insert(name, freeze);
        Ok(())
    }

    fn exception<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let name = word(words.next(), "a name")?;
        let scope = match words.next() {
            Some("machine") => exception::Scope::Machine(word(words.next(), "a machine")?),
            Some("group") => exception::Scope::Group(word(words.next(), "a group")?),
            _ => exception::Scope::Site(word(words.next(), "a site")?),
        };
        let (subject, until) = (exception::Subject::All, word(words.next(), "a time")?);
        let reason = words.collect::<Vec<_>>().join(" ");
        let (workaround, owner) = ("none".to_owned(), "ada".to_owned());
        let since = self.now;
        let one = Exception { scope, subject, reason, workaround, owner, since, until };
        self.published.plans.exceptions.insert(name, one);
        Ok(())
    }

    fn brake<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let name = word(words.next(), "a name")?;
        let subject = match words.next() {
            Some("everything") => brake::Subject::All,
            other => brake::Subject::Revision(word(other, "a revision")?),
        };
        let (until, since) = (word(words.next(), "a time")?, self.now);
        let (reason, by) = (words.collect::<Vec<_>>().join(" "), "bea".to_owned());
        self.brakes.insert(name, Brake { subject, reason, by, since, until });
        Ok(())
    }

    fn explain(&self, name: Option<&str>) -> Result<Vec<String>, Fault> {
        let name: RolloutName = word(name, "a rollout")?;
        let plans = &self.published.plans;
        let rollout = plans.rollouts.get(&name).ok_or("no such rollout")?;
        let tallies = self.tallies.get(&name).map(Vec::as_slice).unwrap_or_default();
        let state = self.planner.states().get(&name);
        let (unready, freezes) = (&self.unready, &plans.freezes);
        let input = Input { state, tallies, freezes, unready, now: self.now };
        Ok(render::explanation(&explain(rollout, input)))
    }

    /// What a machine may do, by the documents of its node.
    fn ask(&self, machine: Option<&str>, node: Option<&str>) -> Result<Vec<String>, Fault> {
        let name: MachineName = word(machine, "a machine")?;
        let owner = self.machines.get(&name).ok_or("no such machine")?;
        let zone = self.zones.get(&owner.site).ok_or("its site has no zone")?;
        let documents = node.and_then(|node| self.cut.get(node)).unwrap_or(&self.published);
        let Documents { approvals, plans, states } = documents;
        let offer = Offer { approvals, plans, states, brakes: &self.brakes, now: self.now };
        let asks = Machine { name: &name, group: &owner.group, site: &owner.site, zone };
        let mut said = Vec::new();
        for revision in approvals.approved() {
            if owner.installed.contains(revision) {
                said.push(format!("{revision}: has it"));
                continue;
            }
            said.push(match offer.machine(revision, asks) {
                Ok(offered) => render::offered(revision, &offered, zone, self.now),
                Err(why) => render::refused(revision, &why),
            });
        }
        Ok(said)
    }
}
