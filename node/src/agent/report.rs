//! Handing the queue to a node, in batches that the machine signs.
//!
//! A machine whose disk was put back to an earlier state would give numbers again that
//! nodes hold already, and what it has to tell would be taken for what they have. So before
//! anything new is told a sign of life is, which is answered with what the node holds: that
//! it was told more than the queue has told shows that the disk was put back.
//!
//! Where a node, or its software, is too old for roll-ups, it is told what is before
//! the first of them, and that the machine lives; the rest waits until it is new
//! enough. Nodes above that one are not waited for: each keeps roll-ups until its
//! parent reads them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::report::{
    self as wire, Answer, Batch, Fact, Held, ReportResponse, SignedBatch, Verdict,
};
use patchmesh_topology::applicability::Inventory;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::report::backlog::Part;
use patchmesh_topology::report::{
    MAX_EPOCHS, MAX_FACT_NAME, MAX_FACT_VALUE, MAX_FACTS, UNREADABLE,
};
use prost::Message;

use super::link::{self, Link};
use super::queue::{self, Event, Queue};
use super::state::Joined;
use crate::identity::files::Identity;
use crate::identity::key;
use crate::identity::sealed::signed;
use crate::log::in_one_line;

/// Why events were not handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be used.
    #[error("the machine's key cannot sign")]
    Key(#[from] key::Error),
    /// The node did not take them.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// What it took cannot be forgotten.
    #[error("the queue failed")]
    Queue(#[from] queue::Error),
    /// The node does not answer for each batch.
    #[error("the node answered for {answers} of {batches} batches")]
    Answers {
        /// How many answers.
        answers: usize,
        /// How many batches.
        batches: usize,
    },
    /// There is nobody to send to.
    #[error("there is no node to report to")]
    Nobody,
    /// An answer from which it cannot be told whether it took the batch.
    #[error("the node does not say whether it took a batch")]
    Unspecified,
    /// Numbers of the queue were given to other events before.
    #[error(
        "node {0} holds events of this machine that the machine has told nobody: its disk was put back to an earlier state"
    )]
    PutBack(NodeName),
    /// The same once more, so soon that the node may be wrong.
    #[error(
        "node {node} holds events of this machine that the machine has told nobody, and that was so within a day before: its disk was put back again, or the node is wrong; after {until:.0} everything is told anew, and another node is told now where one takes it"
    )]
    PutBackAgain {
        /// Who holds them.
        node: NodeName,
        /// Until when it is waited.
        until: Timestamp,
    },
}

impl Error {
    /// Whether another node may take what this one does not.
    const fn is_of_the_node(&self) -> bool {
        match self {
            Self::Link(_)
            | Self::Answers { .. }
            | Self::Unspecified
            | Self::PutBackAgain { .. } => true,
            Self::Key(_) | Self::Queue(_) | Self::Nobody | Self::PutBack(_) => false,
        }
    }
}

/// Who reports, and from where.
#[derive(Debug)]
pub struct Reporter<'a> {
    /// Its key and certificate.
    pub identity: &'a Identity,
    /// Who it is.
    pub joined: &'a Joined,
    /// Where it is.
    pub site: String,
    /// What it says of itself.
    pub facts: Vec<Fact>,
}

/// What a machine says of itself: its system, the digest of its inventory, whether
/// a restart is due, and what its administrator states as far as there is room; also
/// why it cannot tell what is on it, where it cannot.
#[must_use]
pub fn facts(
    inventory: &Inventory,
    digest: &str,
    reboot_needed: bool,
    unreadable: Option<&str>,
) -> Vec<Fact> {
    let own = [
        ("agent", env!("CARGO_PKG_VERSION").to_owned()),
        ("os", format!("{} {}", inventory.os, inventory.os_version).trim().to_owned()),
        ("architecture", inventory.architectures.first().cloned().unwrap_or_default()),
        match unreadable {
            Some(why) => (UNREADABLE, why.to_owned()),
            None => ("packages", inventory.package_count().to_string()),
        },
        ("inventory", digest.to_owned()),
        ("reboot-needed", reboot_needed.to_string()),
    ];
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let cut = |text: &str, most| text.chars().map(shown).take(most).collect::<String>();
    let mut facts = BTreeMap::new();
    for (name, value) in own {
        facts.insert(name.to_owned(), cut(&value, MAX_FACT_VALUE));
    }
    for (name, value) in inventory.facts.iter().filter(|(name, _)| *name != UNREADABLE) {
        let (name, value) = (cut(name, MAX_FACT_NAME), cut(value, MAX_FACT_VALUE));
        if facts.len() < MAX_FACTS {
            facts.entry(name).or_insert(value);
        }
    }
    // In order, and each once.
    facts.into_iter().map(|(name, value)| Fact { name, value }).collect()
}

impl Reporter<'_> {
    /// [Sends](Self::send) to the first of some nodes that takes it; who that was.
    ///
    /// # Errors
    /// The last one's; what nobody took stays.
    pub async fn send_to_first<'l>(
        &self,
        links: &'l [Link],
        queue: &mut Queue,
    ) -> Result<(&'l Link, usize), Error> {
        let mut last = Error::Nobody;
        for link in links {
            match self.send(link, queue).await {
                Ok(sent) => return Ok((link, sent)),
                Err(error) if error.is_of_the_node() => {
                    let (why, node) = (in_one_line(&error), link.node());
                    tracing::warn!(why, %node, "a node does not take the reports");
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Sends a sign of life and all that waits; what the node holds is forgotten.
    /// What it will never take is forgotten with a warning: sending it again is of no use.
    ///
    /// # Errors
    /// The node cannot be reached or has no room; what it did not take stays. A queue that
    /// was put back has to [begin again](Queue::begin_again).
    pub async fn send(&self, link: &Link, queue: &mut Queue) -> Result<usize, Error> {
        if queue.has_news() {
            self.prove(link, queue).await?;
            queue.begin_to_tell()?;
        }
        let (mut sent, mut reads_roll_ups) = (0, true);
        loop {
            let is_read = |part: &Part<'_, Event>| reads_roll_ups || part.rolled_up.is_none();
            let parts: Vec<Part<'_, Event>> = queue.parts().take_while(is_read).collect();
            let has_roll_up = parts.iter().any(|part| part.rolled_up.is_some());
            let mut batches = Vec::new();
            for part in &parts {
                batches.push(self.seal(&self.batch(queue, part))?);
            }
            if parts.is_empty() {
                batches.push(self.seal(&self.life(queue))?);
            }
            let batches_sent = batches.len();
            let ReportResponse { answers, held } = match link.report(batches, has_roll_up).await {
                Err(error) if has_roll_up && error.is_unknown_call() => {
                    let waiting = queue.waiting().rolled_up;
                    tracing::warn!(waiting, node = %link.node(), "the node is too old for events that are rolled up: they wait until it is updated");
                    reads_roll_ups = false;
                    continue;
                }
                answered => answered?,
            };
            let said = said(&answers, batches_sent)?;
            check(queue, said, &held, link)?;
            warn_of_refusals(said);
            let first = queue.first();
            let to = parts.iter().take(said.len()).next_back().map_or(first, |part| part.run.end);
            let was_life = parts.is_empty();
            drop(parts);
            if to > first {
                queue.forget(to)?;
                sent += usize::try_from(to - first).unwrap_or(usize::MAX);
            }
            if said.len() < batches_sent {
                return Err(Error::Unspecified);
            }
            if was_life || queue.is_empty() {
                return Ok(sent);
            }
        }
    }

    /// Sends a sign of life, and looks whether the node holds what this queue has told
    /// nobody.
    async fn prove(&self, link: &Link, queue: &Queue) -> Result<(), Error> {
        let life = self.seal(&self.life(queue))?;
        let ReportResponse { answers, held } = link.report(vec![life], false).await?;
        let said @ [_] = said(&answers, 1)? else { return Err(Error::Unspecified) };
        check(queue, said, &held, link)?;
        warn_of_refusals(said);
        Ok(())
    }

    /// What says that the machine lives.
    fn life(&self, queue: &Queue) -> Batch {
        let first = queue.first();
        self.batch(queue, &Part { run: first..first, rolled_up: None, events: &[] })
    }

    fn batch(&self, queue: &Queue, part: &Part<'_, Event>) -> Batch {
        Batch {
            mesh_id: self.joined.mesh_id.clone(),
            machine: self.joined.machine.clone(),
            epoch: queue.epoch(),
            epoch_began: Some(timestamp_to_wire(queue.began())),
            first: part.run.start,
            events: part.events.iter().map(|(_, event)| to_wire(event)).collect(),
            rolled_up: part.rolled_up.map(Into::into),
            site: self.site.clone(),
            facts: self.facts.clone(),
            made_at: Some(timestamp_to_wire(Timestamp::now())),
        }
    }

    fn seal(&self, batch: &Batch) -> Result<SignedBatch, Error> {
        let (has_roll_up, batch) = (batch.rolled_up.is_some(), batch.encode_to_vec());
        let signature = self.identity.key().sign(&signed(&batch, has_roll_up))?;
        Ok(SignedBatch {
            batch: batch.into(),
            certificate: self.identity.certificate().der.to_vec().into(),
            signature: signature.into(),
            // The node says.
            seen_from: String::new(),
        })
    }
}

fn to_wire(event: &Event) -> wire::Event {
    wire::Event {
        revision: event.revision.clone(),
        phase: event.phase,
        outcome: event.outcome,
        code: event.code,
        message: event.message.clone(),
        at: Some(timestamp_to_wire(event.at)),
    }
}

/// The number behind the last one that is held of an epoch; `None` where nothing is known
/// of it.
fn held_to(held: &[Held], epoch: u64) -> Option<u64> {
    let one = held.iter().find(|one| one.epoch == epoch)?;
    Some(one.runs.iter().map(|run| run.end).max().unwrap_or_default())
}

/// Whether answers and what a node holds show that the queue was put back.
fn check(queue: &Queue, answers: &[Answer], held: &[Held], link: &Link) -> Result<(), Error> {
    let is_refused = |one: &Answer| one.verdict() == Verdict::Refused;
    let is_put_back = match held_to(held, queue.epoch()) {
        Some(end) => queue.is_put_back(end),
        // So many others began since that the node has forgotten this one.
        None => held.len() >= MAX_EPOCHS && answers.iter().any(is_refused),
    };
    if !is_put_back {
        return Ok(());
    }
    let node = link.node().clone();
    Err(match queue.goes_on_until(Timestamp::now()) {
        None => Error::PutBack(node),
        Some(until) => Error::PutBackAgain { node, until },
    })
}

/// Of the answers on so many batches those before the first that says nothing of its batch.
/// That batch and what comes behind it are sent again; what the node holds of that does no
/// harm.
fn said(answers: &[Answer], batches: usize) -> Result<&[Answer], Error> {
    if answers.len() != batches {
        return Err(Error::Answers { answers: answers.len(), batches });
    }
    let is_silent = |one: &Answer| one.verdict() == Verdict::Unspecified;
    Ok(&answers[..answers.iter().position(is_silent).unwrap_or(batches)])
}

fn warn_of_refusals(answers: &[Answer]) {
    for answer in answers.iter().filter(|one| one.verdict() == Verdict::Refused) {
        tracing::warn!(reason = answer.reason, "the node refused a report for good");
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::report::{Batch, MAX_BATCH, MAX_MESSAGE};
    use patchmesh_topology::tally::{Outcome, Phase};

    use super::*;

    #[test]
    fn facts_are_such_as_nodes_take() {
        let mut inventory = Inventory { os: "debian".to_owned(), ..Inventory::default() };
        for number in 0..100 {
            inventory.facts.insert(format!("fact-{number}"), "x".repeat(number * 5));
        }
        inventory.facts.insert("os".to_owned(), "lies".to_owned());
        inventory.facts.insert(UNREADABLE.to_owned(), "lies".to_owned());
        let why = format!("cannot\nread {}", "x".repeat(MAX_FACT_VALUE));
        let blind = facts(&inventory, "digest", true, Some(&why));
        let fact = blind.iter().find(|one| one.name == UNREADABLE).expect("it is told");
        assert!(fact.value.starts_with("cannot read x"), "{}", fact.value);
        assert!(!blind.iter().any(|one| one.name == "packages"), "nobody has counted them");
        Batch::try_from(batch(blind, Vec::new())).expect("a batch that is taken");
        let made = facts(&inventory, "digest", true, None);
        assert!(!made.iter().any(|one| one.name == UNREADABLE), "the agent alone says so");
        assert_eq!(made.len(), MAX_FACTS);
        assert!(made.iter().any(|one| one.name == "os" && one.value == "debian"));
        Batch::try_from(batch(made, Vec::new())).expect("a batch that is taken");
    }

    fn batch(facts: Vec<Fact>, events: Vec<wire::Event>) -> wire::Batch {
        wire::Batch {
            mesh_id: "mesh".to_owned(),
            machine: "pc-1".to_owned(),
            epoch_began: Some(timestamp_to_wire(Timestamp::UNIX_EPOCH)),
            made_at: Some(timestamp_to_wire(Timestamp::UNIX_EPOCH)),
            site: "emea".to_owned(),
            facts,
            events,
            ..wire::Batch::default()
        }
    }

    #[test]
    fn a_batch_of_the_longest_events_in_any_script_is_within_its_bound() {
        let long = |most| "\u{1f980}".repeat(most);
        let mut inventory = Inventory::default();
        for number in 0..MAX_FACTS {
            let name = format!("{number}{}", long(MAX_FACT_NAME));
            inventory.facts.insert(name, long(MAX_FACT_VALUE));
        }
        let revision = format!("{0}:stable/{0}{0}@{0}", "x".repeat(60));
        let (phase, outcome) = (Phase::Installation, Outcome::Failure);
        let message = long(MAX_MESSAGE);
        let event = Event::new(&revision, phase, outcome, i64::MIN, &message, Timestamp::MAX);
        assert!(event.message.len() > 600, "{}", event.message.len());
        let most = queue::LIMITS.events.max(queue::LIMITS.between);
        let batch = batch(facts(&inventory, "digest", true, None), vec![to_wire(&event); most]);
        assert!(batch.encoded_len() < MAX_BATCH, "{}", batch.encoded_len());
    }

    #[test]
    fn a_batch_of_which_nothing_is_said_stays_with_those_behind_it() {
        let answer = |verdict: i32| Answer { verdict, ..Answer::default() };
        let (held, refused) = (Verdict::Held.into(), Verdict::Refused.into());
        let counted = |verdicts: &[i32]| {
            let answers: Vec<Answer> = verdicts.iter().map(|one| answer(*one)).collect();
            said(&answers, verdicts.len()).expect("an answer for each").len()
        };
        assert_eq!(counted(&[held, refused, held]), 3);
        assert_eq!(counted(&[held, Verdict::Unspecified.into(), held]), 1);
        assert_eq!(counted(&[99, held]), 0, "a verdict of software to come");
        let fewer = said(&[answer(held)], 2).expect_err("one is not answered for");
        assert_eq!(fewer.to_string(), "the node answered for 1 of 2 batches");
    }

    #[test]
    fn what_is_held_of_another_epoch_says_nothing() {
        let run = |start, end| wire::Run { start, end };
        let held = [
            Held { epoch: 1, runs: vec![run(0, 9)] },
            Held { epoch: 2, runs: vec![run(0, 3), run(5, 7)] },
            Held { epoch: 3, runs: Vec::new() },
        ];
        assert_eq!([1, 2, 3, 4].map(|one| held_to(&held, one)), [Some(9), Some(7), Some(0), None]);
    }
}
