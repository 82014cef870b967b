//! Batches of machines' events.

use patchmesh_topology::report::roll_up::MAX_RUNS;
use patchmesh_topology::report::{
    Batch, Event, MAX_EVENTS, MAX_FACT_NAME, MAX_FACT_VALUE, MAX_FACTS, MAX_MESSAGE, RollUp,
};
use patchmesh_topology::tally::{Outcome, Phase};

use super::{At, Error, Fault, at_most, each, sorted, time, timestamp_to_wire};
use crate::report as wire;

impl TryFrom<wire::Batch> for Batch {
    type Error = Error;

    fn try_from(batch: wire::Batch) -> Result<Self, Error> {
        at_most(&batch.events, MAX_EVENTS).at("events")?;
        at_most(&batch.facts, MAX_FACTS).at("facts")?;
        if batch.mesh_id.is_empty() {
            return Err(Fault::Missing).at("mesh_id");
        }
        let rolled_up = batch.rolled_up.map(RollUp::try_from).transpose().at("rolled_up")?;
        // The numbers end before the greatest one, so that a run of them has an end. A
        // roll-up has a bound far below that.
        let numbers = batch.events.len() as u64 + rolled_up.as_ref().map_or(0, RollUp::count);
        let Some(end) = batch.first.checked_add(numbers + 1) else {
            return Err(Fault::Range).at("first");
        };
        if let Some(one) = &rolled_up {
            let span = one.span();
            if span.start < batch.first || span.end >= end {
                return Err(Fault::Range).at("rolled_up.runs");
            }
        }
        let facts = each("facts", batch.facts, |fact| {
            let name = text(fact.name, 1, MAX_FACT_NAME).at("name")?;
            Ok((name, text(fact.value, 0, MAX_FACT_VALUE).at("value")?))
        })?;
        Ok(Self {
            mesh_id: batch.mesh_id,
            machine: batch
                .machine
                .parse::<patchmesh_topology::name::MachineName>()
                .at("machine")?,
            epoch: batch.epoch,
            began: time(batch.epoch_began).at("epoch_began")?,
            first: batch.first,
            events: each("events", batch.events, Event::try_from)?,
            rolled_up,
            site: batch.site.parse::<patchmesh_topology::name::Site>().at("site")?,
            // By name, each once.
            facts: sorted("facts", facts)?,
            made_at: time(batch.made_at).at("made_at")?,
        })
    }
}

impl From<&Batch> for wire::Batch {
    fn from(batch: &Batch) -> Self {
        let fact = |(name, value): &(String, String)| wire::Fact {
            name: name.clone(),
            value: value.clone(),
        };
        Self {
            mesh_id: batch.mesh_id.clone(),
            machine: batch.machine.to_string(),
            epoch: batch.epoch,
            epoch_began: Some(timestamp_to_wire(batch.began)),
            first: batch.first,
            events: batch.events.iter().map(Into::into).collect(),
            site: batch.site.to_string(),
            facts: batch.facts.iter().map(fact).collect(),
            made_at: Some(timestamp_to_wire(batch.made_at)),
            rolled_up: batch.rolled_up.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::RollUp> for RollUp {
    type Error = Error;

    fn try_from(one: wire::RollUp) -> Result<Self, Error> {
        at_most(&one.runs, MAX_RUNS).at("runs")?;
        at_most(&one.counts, Phase::ALL.len() * Outcome::ALL.len()).at("counts")?;
        let runs: Vec<_> = one.runs.iter().map(|run| run.start..run.end).collect();
        let counts = each("counts", one.counts, |count| {
            let step = (phase(count.phase).at("phase")?, outcome(count.outcome).at("outcome")?);
            Ok((step, count.events))
        })?;
        let times = (time(one.since).at("since")?, time(one.until).at("until")?);
        Ok(Self::new(&runs, sorted("counts", counts)?, times)?)
    }
}

impl From<&RollUp> for wire::RollUp {
    fn from(one: &RollUp) -> Self {
        let (since, until) = one.times();
        let count = |(&(phase, outcome), &events): (&(Phase, Outcome), &u64)| wire::StepCount {
            phase: wire::Phase::from(phase).into(),
            outcome: wire::Outcome::from(outcome).into(),
            events,
        };
        let run = |run: std::ops::Range<u64>| wire::Run { start: run.start, end: run.end };
        Self {
            runs: one.runs().runs().map(run).collect(),
            counts: one.counts().iter().map(count).collect(),
            since: Some(timestamp_to_wire(since)),
            until: Some(timestamp_to_wire(until)),
        }
    }
}

impl TryFrom<wire::Event> for Event {
    type Error = Error;

    fn try_from(event: wire::Event) -> Result<Self, Error> {
        Ok(Self {
            phase: phase(event.phase).at("phase")?,
            outcome: outcome(event.outcome).at("outcome")?,
            revision: event
                .revision
                .parse::<patchmesh_topology::revision::RevisionId>()
                .at("revision")?,
            code: event.code,
            message: text(event.message, 0, MAX_MESSAGE).at("message")?,
            at: time(event.at).at("at")?,
        })
    }
}

impl From<&Event> for wire::Event {
    fn from(event: &Event) -> Self {
        Self {
            revision: event.revision.to_string(),
            phase: wire::Phase::from(event.phase).into(),
            outcome: wire::Outcome::from(event.outcome).into(),
            code: event.code,
            message: event.message.clone(),
            at: Some(timestamp_to_wire(event.at)),
        }
    }
}

impl From<Phase> for wire::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Detection => Self::Detection,
            Phase::Download => Self::Download,
            Phase::Installation => Self::Installation,
            Phase::Removal => Self::Removal,
            Phase::Reboot => Self::Reboot,
        }
    }
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pending => Self::Pending,
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Declined => Self::Declined,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::RebootRequired => Self::RebootRequired,
        }
    }
}

/// The step that a number stands for.
///
/// # Errors
/// It stands for none.
pub fn phase(value: i32) -> Result<Phase, Error> {
    match wire::Phase::try_from(value) {
        Ok(wire::Phase::Detection) => Ok(Phase::Detection),
        Ok(wire::Phase::Download) => Ok(Phase::Download),
        Ok(wire::Phase::Installation) => Ok(Phase::Installation),
        Ok(wire::Phase::Removal) => Ok(Phase::Removal),
        Ok(wire::Phase::Reboot) => Ok(Phase::Reboot),
        Ok(wire::Phase::Unspecified) | Err(_) => Err(Fault::Word { kind: "phase", value }.into()),
    }
}

/// The outcome that a number stands for.
///
/// # Errors
/// It stands for none.
pub fn outcome(value: i32) -> Result<Outcome, Error> {
    match wire::Outcome::try_from(value) {
        Ok(wire::Outcome::Pending) => Ok(Outcome::Pending),
        Ok(wire::Outcome::Success) => Ok(Outcome::Success),
        Ok(wire::Outcome::Failure) => Ok(Outcome::Failure),
        Ok(wire::Outcome::Declined) => Ok(Outcome::Declined),
        Ok(wire::Outcome::Cancelled) => Ok(Outcome::Cancelled),
        Ok(wire::Outcome::RebootRequired) => Ok(Outcome::RebootRequired),
        Ok(wire::Outcome::Unspecified) | Err(_) => {
            Err(Fault::Word { kind: "outcome", value }.into())
        }
    }
}

/// A text of bounded length.
fn text(text: String, least: usize, most: usize) -> Result<String, Error> {
    let length = text.chars().count();
    if (least..=most).contains(&length) { Ok(text) } else { Err(Fault::Range.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch() -> Batch {
        let at = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
        let event = |number: i64| Event {
            revision: "vendor:stable/app@1".parse().expect("a revision"),
            phase: Phase::Installation,
            outcome: Outcome::Failure,
            code: -number,
            message: "no room".to_owned(),
            at,
        };
        Batch {
            mesh_id: "m".to_owned(),
            machine: "pc-1".parse().expect("a name"),
            epoch: u64::MAX,
            began: at,
            first: 7,
            events: (0..3).map(event).collect(),
            rolled_up: None,
            site: "emea/fr".parse().expect("a site"),
            facts: vec![
                ("os".to_owned(), "debian 12".to_owned()),
                ("ram".to_owned(), String::new()),
            ],
            made_at: at,
        }
    }

    #[test]
    fn a_batch_survives_the_wire() {
        assert_eq!(Batch::try_from(wire::Batch::from(&batch())).expect("read"), batch());
        assert!(batch().is_urgent());
        assert_eq!(batch().run(), 7..10);
    }

    /// 7 to 11 of which 8, 9 and 11 are events.
    fn rolled_up() -> wire::Batch {
        let at = Some(timestamp_to_wire(jiff::Timestamp::UNIX_EPOCH));
        let count = |phase: wire::Phase, events| wire::StepCount {
            phase: phase.into(),
            outcome: wire::Outcome::Success.into(),
            events,
        };
        let roll_up = wire::RollUp {
            runs: vec![wire::Run { start: 7, end: 8 }, wire::Run { start: 10, end: 11 }],
            counts: vec![count(wire::Phase::Detection, 1), count(wire::Phase::Reboot, 1)],
            since: at,
            until: at,
        };
        wire::Batch { rolled_up: Some(roll_up), ..(&batch()).into() }
    }

    #[test]
    fn events_have_the_numbers_that_are_not_rolled_up() {
        let batch = Batch::try_from(rolled_up()).expect("read");
        assert_eq!(batch.run(), 7..12);
        assert!(batch.numbered().map(|(number, event)| (number, event.code)).eq([
            (8, 0),
            (9, -1),
            (11, -2)
        ]));
        assert_eq!(Batch::try_from(wire::Batch::from(&batch)).expect("read"), batch);
        // All of them rolled up.
        let mut none = rolled_up();
        none.events.clear();
        none.rolled_up.as_mut().expect("one").runs = vec![wire::Run { start: 7, end: 9 }];
        let none = Batch::try_from(none).expect("read");
        assert_eq!((none.run(), none.numbered().count()), (7..9, 0));
    }

    #[test]
    fn a_roll_up_that_does_not_add_up_is_named() {
        let fault = |change: &dyn Fn(&mut wire::Batch, &mut wire::RollUp)| {
            let mut wire = rolled_up();
            let mut one = wire.rolled_up.take().expect("one");
            change(&mut wire, &mut one);
            wire.rolled_up = Some(one);
            Batch::try_from(wire).expect_err("refused").to_string()
        };
        let run = |start, end| wire::Run { start, end };
        let cases = [
            (fault(&|_, r| r.runs.clear()), "rolled_up has runs that are empty"),
            (fault(&|_, r| r.runs[1] = run(8, 9)), "touch"),
            (fault(&|_, r| r.runs.reverse()), "out of order"),
            (fault(&|_, r| r.runs[0] = run(6, 7)), "rolled_up.runs is out of range"),
            (fault(&|_, r| r.runs[1] = run(12, 13)), "rolled_up.runs is out of range"),
            (fault(&|_, r| r.runs = vec![run(0, 1); 514]), "rolled_up.runs has more than 513"),
            (fault(&|_, r| r.counts[0].events = 2), "counts 3 events, and its runs have 2"),
            (fault(&|_, r| r.counts[0].events = u64::MAX), "and its runs have 2"),
            (fault(&|_, r| r.counts[0].events = 0), "and its runs have 2"),
            (fault(&|_, r| r.counts.reverse()), "rolled_up.counts[1] is out of order"),
            (fault(&|_, r| r.counts[1].phase = 9), "rolled_up.counts[1].phase has 9"),
            (fault(&|_, r| r.counts[1].outcome = 0), "rolled_up.counts[1].outcome has 0"),
            (fault(&|_, r| r.counts = vec![r.counts[0]; 31]), "more than 30"),
            (fault(&|_, r| r.until = None), "rolled_up.until is missing"),
            (fault(&|_, r| r.since.as_mut().expect("a time").seconds = 1), "ends before"),
            (fault(&|b, _| b.first = u64::MAX - 3), "first is out of range"),
            (
                fault(&|_, r| {
                    r.runs = vec![run(7, 7 + (1 << 60))];
                    r.counts = vec![wire::StepCount { events: 1 << 60, ..r.counts[0] }];
                }),
                "more than 513 runs or 16777216 events",
            ),
        ];
        for (said, expected) in cases {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_is_named() {
        let fault = |change: &dyn Fn(&mut wire::Batch)| {
            let mut wire = wire::Batch::from(&batch());
            change(&mut wire);
            Batch::try_from(wire).expect_err("refused").path().to_owned()
        };
        assert_eq!(fault(&|b| b.events[1].message = "x".repeat(513)), "events[1].message");
        assert_eq!(fault(&|b| b.events[0].phase = 9), "events[0].phase");
        assert_eq!(fault(&|b| b.events[0].outcome = 0), "events[0].outcome");
        assert_eq!(fault(&|b| b.events[2].revision = "app".to_owned()), "events[2].revision");
        assert_eq!(fault(&|b| b.events = vec![b.events[0].clone(); 513]), "events");
        assert_eq!(fault(&|b| b.first = u64::MAX - 2), "first");
        assert_eq!(fault(&|b| b.machine = "PC 1".to_owned()), "machine");
        assert_eq!(fault(&|b| b.site = "/emea".to_owned()), "site");
        assert_eq!(fault(&|b| b.facts.reverse()), "facts[1]");
        assert_eq!(fault(&|b| b.facts[0].value = "x".repeat(257)), "facts[0].value");
        assert_eq!(fault(&|b| b.epoch_began = None), "epoch_began");
        assert_eq!(fault(&|b| b.mesh_id.clear()), "mesh_id");
    }

    proptest! {
        #[test]
        fn no_numbers_panic(first in any::<u64>(), phase in any::<i32>(), outcome in any::<i32>(), seconds in any::<i64>()) {
            let mut wire = wire::Batch::from(&batch());
            wire.first = first;
            wire.events[0].phase = phase;
            wire.events[0].outcome = outcome;
            wire.made_at = Some(prost_types::Timestamp { seconds, nanos: 5 });
            if let Ok(batch) = Batch::try_from(wire) {
                prop_assert_eq!(batch.run().end - batch.run().start, 3);
            }
        }
    }
}
