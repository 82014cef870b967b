//! One round of the agent: follow the mesh, look at the machine, fetch, install,
//! look again, tell.
//!
//! What always holds: *installed* is what detection says, not what an installer
//! said; nothing is installed that is not open to this very machine by what
//! headquarters signed; what happened is in the queue before the next thing
//! happens; of a machine that cannot be looked at nothing is decided, and nothing told
//! but that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::applicability::attempts::Attempts;
use patchmesh_topology::applicability::{Inventory, rules};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::{GroupName, MachineName, NodeName, Site};
use patchmesh_topology::node::mode::Asked;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Action;
use patchmesh_topology::tally::{Outcome, Phase};
use tokio::sync::watch;

use super::chain::{self, Chain};
use super::decide::{Asking, Item, Tries, decide};
use super::documents::Documents;
use super::install::files::{self, Files};
use super::inventory::{self, Listing};
use super::link::{self, Link};
use super::queue::{self, Event, Queue};
use super::renew;
use super::report;
use super::state::{self, CutOff, Joined, Memory, State, Tried};
use super::wake::{self, Heard};
use crate::identity::certificate::Validity;
use crate::identity::files::Identity;
use crate::identity::renewal;
use crate::log::in_one_line;

mod fetch;
mod install;
pub mod policy;
mod reboot;
mod remove;
pub mod slot;
mod tell;
pub mod whom;

pub use install::Hooks;

use fetch::Wanted;

/// Events that one round may make for each revision: found, downloaded,
/// installed, found again, restarted.
const EVENTS_EACH: usize = 5;

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent's folder cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The machine cannot be looked at.
    #[error("cannot tell what is on this machine")]
    Inventory(#[from] inventory::Error),
    /// The node cannot be asked.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// There is nothing to go by.
    #[error(transparent)]
    Chain(#[from] Box<chain::Error>),
    /// The queue cannot be used.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// What was broken off cannot be put back.
    #[error("files that were being replaced cannot be put back")]
    Files(#[from] files::Error),
    /// Nobody takes what there is to tell.
    #[error("the node did not take the reports; they are kept")]
    Report(#[from] report::Error),
    /// What was done is done, and nobody takes what there is to tell of it.
    #[error("{source}")]
    NotTold {
        /// What came of the round until then.
        done: Box<Done>,
        /// Why nobody takes it.
        source: Box<Error>,
    },
    /// A name that the joining kept wrongly.
    #[error("{0} that the joining kept cannot be read; join again")]
    Name(&'static str),
    /// The node is not in the mesh.
    #[error("node {0} is not in the mesh any more; join again at another one")]
    Node(NodeName),
    /// The certificate ended, so there is nobody to ask.
    #[error(
        "this machine's certificate ended at {0:.0}, so no node lets it in: make a token at headquarters with `patchmesh machine token`, and join again with `patchmesh agent join`; what was done and what is not reported yet is kept"
    )]
    Expired(Timestamp),
    /// Neither the node nor what is held is of use.
    #[error(
        "no node is reached, and what this machine holds is of no more use ({held}): nothing is installed until one is"
    )]
    CutOff {
        /// What is wrong with what is held.
        held: String,
        /// What is wrong with the node.
        source: Box<Error>,
    },
    /// A thread broke off.
    #[error("a part of the agent broke off")]
    Thread(#[from] tokio::task::JoinError),
}

/// What came of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The mesh's state that was followed.
    pub generation: u64,
    /// What was found installed after it was needed before.
    pub installed: Vec<String>,
    /// What was removed.
    pub removed: Vec<String>,
    /// What failed, and why.
    pub failed: Vec<(String, String)>,
    /// What is to be installed, and why its files could not be had now.
    pub withheld: BTreeMap<String, String>,
    /// Events that a node took.
    pub reported: usize,
    /// Why no node was reached, where what is held was gone on with.
    pub cut_off: Option<String>,
    /// How every revision stands now.
    pub standings: Vec<state::Standing>,
}

/// The agent of one machine.
#[derive(Debug)]
pub struct Agent {
    state: State,
    root: PathBuf,
    identity: Identity,
    joined: Joined,
    machine: MachineName,
    group: GroupName,
    /// To its own node.
    home: Link,
    /// To the one that stood in for it last.
    stand_in: Option<Link>,
    /// To the node of this round.
    link: Link,
    /// To the node that is listened to.
    heard_at: watch::Sender<Link>,
    queue: Queue,
    memory: Memory,
    hooks: Hooks,
    /// Whether it is known what restarts the machine.
    is_restartable: bool,
}

impl Error {
    /// Whether it lies with the node, the way to it or the right to ask it.
    fn is_withheld(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_withheld(),
            Self::Expired(_) => true,
            _ => false,
        }
    }
}

impl Agent {
    /// Opens the agent of a machine whose files are below `root`. Blocks.
    ///
    /// # Errors
    /// A machine that has not joined, or a folder that cannot be used.
    pub fn open(state: State, root: PathBuf) -> Result<Self, Error> {
        let root = std::path::absolute(&root).unwrap_or(root);
        // What was broken off comes first.
        Files::open(state.clone(), &root)?;
        let (identity, joined, mut memory) = (state.identity()?, state.joined()?, state.memory()?);
        let home = whom::link_home(&identity, &memory.own_node(&joined))?;
        let queue = Queue::open(state.part("queue")?)?;
        if queue.is_damaged() && !memory.told.is_empty() {
            tracing::warn!("what waited to be told may be lost: everything is told anew");
            memory.forget_what_was_told(&queue);
            state.save_memory(&memory)?;
        }
        Ok(Self {
            machine: joined.machine.parse().map_err(|_| Error::Name("machine"))?,
            group: joined.group.parse().map_err(|_| Error::Name("group"))?,
            link: home.clone(),
            heard_at: watch::Sender::new(home.clone()),
            stand_in: None,
            home,
            queue,
            memory,
            hooks: Hooks::default(),
            is_restartable: false,
            identity,
            joined,
            state,
            root,
        })
    }

    /// With commands around the installers of each round.
    #[must_use]
    pub fn with_hooks(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// With room for fewer events than an agent has. Blocks.
    ///
    /// # Errors
    /// The queue cannot be written.
    pub fn with_room_for(self, events: usize) -> Result<Self, Error> {
        Ok(Self { queue: self.queue.with_bound(events)?, ..self })
    }

    /// Listens from now on to the node that the last round was with, until the receiver is
    /// dropped or the runtime ends.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<Heard> {
        let (heard, words) = watch::channel(Heard::Nothing);
        let part = self.jitter(Duration::from_secs(1)).as_secs_f64();
        let (links, gone) = (self.heard_at.subscribe(), heard.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = wake::listen(links, part, heard) => {}
                () = gone.closed() => {}
            }
        });
        words
    }

    /// Goes through one round, in which what a person asked for is done whatever the
    /// group's mode.
    ///
    /// # Errors
    /// What stopped it; what was done is kept and told next time.
    pub async fn round(&mut self, asked: &Asked) -> Result<Done, Error> {
        let _work = self.state.work()?;
        let outcome = self.go_round(asked).await;
        if let Err(Error::Inventory(why)) = &outcome {
            self.is_unreadable(&in_one_line(why)).await?;
        }
        outcome
    }

    async fn go_round(&mut self, asked: &Asked) -> Result<Done, Error> {
        let now = Timestamp::now();
        let chain = self.signed(now).await?;
        self.memory.mesh_epoch = chain.mesh.epoch;
        self.memory.stand_ins = whom::stand_ins(&chain.mesh, &self.home);
        self.heed(&chain);
        let planned = self.planned(now);
        let brakes = self.look_for_brakes().await?;
        let (site, zone) = self.place(&chain)?;
        self.memory.site = site.to_string();
        let inventory = self.look(&chain).await?;
        let mut done = Done {
            generation: chain.number,
            installed: Vec::new(),
            removed: Vec::new(),
            failed: Vec::new(),
            withheld: BTreeMap::new(),
            reported: 0,
            cut_off: self.memory.cut_off.as_ref().map(|one| one.why.clone()),
            standings: Vec::new(),
        };
        self.look_for_reboot(&chain, &inventory, &mut done)?;
        let asking = Asking {
            machine: &self.machine.clone(),
            group: &self.group.clone(),
            site: &site,
            zone: &zone,
            brakes: &brakes,
            mode: chain.mode,
            planned,
            asked,
            now,
        };
        let items = decide(&chain, &inventory, &self.tries(), &asking);
        self.tell_found(&items, now)?;
        let wanted: Vec<Wanted<'_>> = items.iter().filter_map(Wanted::of).collect();
        // What happens has to be told, so there has to be room for it.
        let room = self.queue.room() / EVENTS_EACH;
        let fetched = self.fetch(wanted.into_iter().take(room).collect(), &mut done).await?;
        let fetched = self.prepare(fetched, &mut done).await?;
        let after = if fetched.is_empty() {
            inventory
        } else {
            let ended = self.install(&fetched).await;
            self.finish().await;
            let ended = ended?;
            let after = self.look(&chain).await?;
            self.judge(&fetched, &ended, &after, &mut done)?;
            after
        };
        // By the time of now: what failed meanwhile rests. What is to go is removed by
        // what is there after installing: what something newer replaced is gone.
        let asking = Asking { now: Timestamp::now(), ..asking };
        let items = decide(&chain, &after, &self.tries(), &asking);
        self.tell_found(&items, asking.now)?;
        let gone = self.remove(&items, &mut done).await?;
        let last;
        let (items, after) = if gone.is_empty() {
            (items, &after)
        } else {
            last = self.look(&chain).await?;
            self.judge_removed(&gone, &last, &mut done)?;
            let asking = Asking { now: Timestamp::now(), ..asking };
            let items = decide(&chain, &last, &self.tries(), &asking);
            self.tell_found(&items, asking.now)?;
            (items, &last)
        };
        if after.reboot_needed {
            self.reboot_is_due(None, false)?;
        }
        self.prune(&items)?;
        done.standings = items.iter().map(Item::standing).collect();
        for one in &mut done.standings {
            let is_due = matches!(one.action.as_str(), "install" | "remove");
            if let Some(why) = done.withheld.get(&one.revision).filter(|_| is_due) {
                (one.action, one.waits_for) = ("waiting".to_owned(), why.clone());
            }
        }
        self.memory.install_mode = chain.mode.to_string();
        self.memory.at_deadline = chain.at_deadline.to_string();
        self.memory.reboot_slots =
            chain.mesh.group(&self.group).and_then(|group| group.reboot_slots);
        self.has_let_go(planned, now);
        let digest = Listing::from(after).digest();
        self.remember(&done, &digest)?;
        if done.cut_off.is_none() {
            match self.tell(&site, after, &digest, &items).await {
                Ok(reported) => done.reported = reported,
                Err(error) => {
                    let (done, source) = (Box::new(done), Box::new(error));
                    return Err(Error::NotTold { done, source });
                }
            }
            self.fetch_ahead(&items).await?;
            self.give_slot_back().await?;
        }
        Ok(done)
    }

    /// What headquarters signed: from the node, or else as it is held.
    async fn signed(&mut self, now: Timestamp) -> Result<Chain, Error> {
        let documents = Documents::new(self.state.part("documents")?);
        let ends = self.identity.certificate().not_after;
        let followed = match self.identity.certificate().validity(now) {
            Validity::Over => Err(Error::Expired(ends)),
            _ => self.follow(&documents, now).await,
        };
        let link = &self.link;
        self.heard_at.send_if_modified(|known| {
            let is_other = !known.is_as(link);
            if is_other {
                known.clone_from(link);
            }
            is_other
        });
        let source = match followed {
            Ok(chain) => {
                self.memory.cut_off = None;
                self.keep_fresh(now).await;
                return Ok(chain);
            }
            Err(error) if error.is_withheld() && self.memory.looked_at.is_some() => error,
            Err(error) => return Err(error),
        };
        let held = self.follower(&documents, now)?.held().await;
        let why = in_one_line(&source);
        let since = self.memory.cut_off.as_ref().map_or(now, |before| before.since);
        let good_until = held.as_ref().ok().map(|chain| chain.expires);
        tracing::warn!(why, %since, "no node is reached");
        self.memory.cut_off = Some(CutOff { since, why, good_until });
        self.state.save_memory(&self.memory)?;
        held.map_err(|held| Error::CutOff { held: in_one_line(&held), source: Box::new(source) })
    }

    /// Renews the certificate when two thirds of its life are over. That it could not
    /// be had is no fault of the round: the old one is good for months.
    async fn keep_fresh(&mut self, now: Timestamp) {
        let certificate = self.identity.certificate();
        let ends = certificate.not_after;
        let part = self.jitter(Duration::from_secs(1)).as_secs_f64();
        if now < renewal::due(certificate, part).0 {
            return;
        }
        let folder = self.state.identity_folder();
        match renew::run(&self.link, &self.machine, &self.identity, &folder).await {
            Ok(renewed) => {
                let ends = renewed.certificate().not_after;
                self.identity = renewed;
                tracing::info!(%ends, "the machine's certificate is renewed");
            }
            Err(error) => {
                tracing::warn!(why = in_one_line(&error), %ends, "the machine's certificate is not renewed yet");
            }
        }
    }

    /// Where the machine is: where its own node is, by the signed mesh, also while
    /// another one stands in for it.
    fn place(&self, chain: &Chain) -> Result<(Site, Zone), Error> {
        let own = self.home.node();
        let node = chain.mesh.nodes.get(own).ok_or_else(|| Error::Node(own.clone()))?;
        Ok((node.site.clone(), chain.mesh.link(own).zone))
    }

    async fn look(&mut self, chain: &Chain) -> Result<Inventory, Error> {
        let rules: Vec<_> = chain.revisions.values().flat_map(rules).collect();
        let (root, state) = (self.root.clone(), self.state.clone());
        let known = self.memory.managers.clone();
        let gathered = tokio::task::spawn_blocking(move || -> Result<_, Error> {
            let mut inventory = inventory::gather(&root, &rules)?;
            let managers = inventory::managers(&inventory, &known)?;
            let placed = state.placed()?;
            let owned = |(path, id): (&String, &String)| Some((path.clone(), id.parse().ok()?));
            inventory.placed = placed.owners().filter_map(owned).collect();
            Ok((inventory, managers))
        });
        let (inventory, managers) = gathered.await??;
        self.memory.managers = managers;
        Ok(inventory)
    }

    /// What was tried.
    fn tries(&self) -> Tries {
        let removals = tried(&self.memory.removals);
        Tries { installs: self.attempts(), removals }
    }

    fn attempts(&self) -> BTreeMap<RevisionId, Attempts> {
        let mut attempts = tried(&self.memory.attempts);
        let restarts = self.memory.reboot.iter().flat_map(|due| &due.revisions);
        for id in restarts.filter_map(|id| id.parse().ok()) {
            attempts.entry(id).or_default().awaits_restart = true;
        }
        attempts
    }

    /// Counts an attempt that came to something else than an installed revision, or one that
    /// is gone.
    fn attempted(
        &mut self,
        action: Action,
        id: &str,
        count: impl FnOnce(&mut Attempts),
    ) -> Attempts {
        let tried = match action {
            Action::Install => &mut self.memory.attempts,
            Action::Remove => &mut self.memory.removals,
        };
        let tried = tried.entry(id.to_owned()).or_default();
        let mut attempts = Attempts::from(&*tried);
        count(&mut attempts);
        tried.set(attempts);
        attempts
    }

    fn happened(
        &mut self,
        id: &str,
        phase: Phase,
        outcome: Outcome,
        code: i64,
        message: &str,
    ) -> Result<(), Error> {
        let event = Event::new(id, phase, outcome, code, message, Timestamp::now());
        self.keep_failure(&event, phase, outcome);
        Ok(self.queue.push(vec![event])?)
    }

    /// Keeps how a try failed beside how often, so that it can be told again.
    fn keep_failure(&mut self, event: &Event, phase: Phase, outcome: Outcome) {
        let tried = match phase {
            Phase::Removal => &mut self.memory.removals,
            _ => &mut self.memory.attempts,
        };
        if let Some(tried) = tried.get_mut(&event.revision).filter(|_| outcome == Outcome::Failure)
        {
            (tried.code, tried.said) = (event.code, event.message.clone());
        }
    }

    fn remember(&mut self, done: &Done, digest: &Digest) -> Result<(), Error> {
        self.memory.looked_at = Some(Timestamp::now());
        self.memory.unreadable = None;
        self.memory.inventory = digest.to_string();
        self.memory.standings.clone_from(&done.standings);
        // What is not approved any more is forgotten.
        let known: std::collections::BTreeSet<&str> =
            done.standings.iter().map(|one| one.revision.as_str()).collect();
        self.memory.attempts.retain(|id, _| known.contains(id.as_str()));
        self.memory.removals.retain(|id, _| known.contains(id.as_str()));
        self.memory.told.retain(|id, _| known.contains(id.as_str()));
        Ok(self.state.save_memory(&self.memory)?)
    }

    /// When the next of what waits goes by its deadline, after `now`.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let moments = self.memory.standings.iter().filter_map(|one| one.goes_at);
        moments.filter(|at| *at > now).min()
    }

    /// The longest that a stable part of this machine's name moves a time by.
    #[must_use]
    pub fn jitter(&self, most: Duration) -> Duration {
        let digest = patchmesh_topology::digest::Digest::of(self.machine.as_str().as_bytes());
        let part = u64::from(u16::from_be_bytes([digest.as_bytes()[0], digest.as_bytes()[1]]));
        let nanos = most.as_nanos() * u128::from(part) / u128::from(u16::MAX);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn tried(kept: &BTreeMap<String, Tried>) -> BTreeMap<RevisionId, Attempts> {
    let read = |(id, tried): (&String, &Tried)| Some((id.parse().ok()?, Attempts::from(tried)));
    kept.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
