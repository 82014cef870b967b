//! Whatever happens between a machine and a node that counts, in whatever order:
//! in the end all is counted that ever happened, once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::interval::Intervals;

const LIMITS: Limits = Limits { events: 3, between: 2, parts: 2 };

/// Events of a request.
const FRONT: usize = LIMITS.events * LIMITS.parts;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    revision: String,
    step: (Phase, Outcome),
    second: i64,
}

impl Told for Event {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn step(&self) -> Option<(Phase, Outcome)> {
        Some(self.step)
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.second).expect("a time")
    }
}

fn event(revision: u8, outcome: usize, second: i64) -> Event {
    let step = (Phase::ALL[outcome % 5], Outcome::ALL[outcome % 6]);
    Event { revision: format!("app@{revision}"), step, second }
}

type Counts = BTreeMap<(Phase, Outcome), u64>;

/// A node that counts, as the primary does.
#[derive(Debug, Default)]
struct Ledger {
    held: Intervals,
    counts: Counts,
    /// The number of the last word on each revision.
    words: BTreeMap<String, u64>,
}

impl Ledger {
    fn take(&mut self, part: &Part<'_, Event>) {
        let new: Vec<Range<u64>> = self.held.gaps(part.run.clone()).collect();
        let is_new = |number| new.iter().any(|run| run.contains(&number));
        if let Some(one) = part.rolled_up {
            let numbers = || one.runs().runs().flatten();
            let count = numbers().filter(|number| is_new(*number)).count() as u64;
            assert!(count == 0 || count == one.count(), "torn: {one:?}");
            if count > 0 {
                for (step, count) in one.counts() {
                    *self.counts.entry(*step).or_default() += count;
                }
            }
        }
        for (number, event) in part.events.iter().filter(|(number, _)| is_new(*number)) {
            *self.counts.entry(event.step).or_default() += 1;
            let word = self.words.entry(event.revision.clone()).or_default();
            *word = (*word).max(*number);
        }
        self.held.insert(part.run.clone());
    }
}

/// Everything that ever happened.
#[derive(Debug, Default)]
struct Happened {
    events: u64,
    counts: Counts,
    words: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
enum Step {
    /// So many things happen.
    Push(Vec<(u8, usize)>),
    /// All but the last so many are rolled up where that may be.
    RollUp(usize),
    /// A request: how many of its parts the node takes, and of how many the machine
    /// learns that.
    Tell(usize, usize),
    /// The machine begins again from what was written down.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0u8..9, 0usize..30), 1..12).prop_map(Step::Push),
        3 => (0usize..8).prop_map(Step::RollUp),
        3 => (0usize..=2, 0usize..=2).prop_map(|(taken, known)| Step::Tell(taken, known)),
        1 => Just(Step::Restart),
    ]
}

/// What has to hold of a backlog at any time.
fn check(backlog: &Backlog<Event>, happened: &Happened) {
    let mut next = backlog.first();
    for part in backlog.parts(LIMITS) {
        assert_eq!(part.run.start, next);
        assert!(!part.run.is_empty());
        next = part.run.end;
        let rolled_up = part.rolled_up.map(|one| one.runs().clone()).unwrap_or_default();
        let numbers: Vec<u64> = rolled_up.gaps(part.run.clone()).flatten().collect();
        assert!(part.events.iter().map(|(number, _)| *number).eq(numbers));
        if let Some(one) = part.rolled_up {
            assert_eq!(one.counts().values().sum::<u64>(), one.count());
            assert!(part.events.len() <= LIMITS.between && one.span() == part.run);
            let runs: Vec<_> = one.runs().runs().collect();
            assert_eq!(RollUp::new(&runs, one.counts().clone(), one.times()).as_ref(), Ok(one));
        } else {
            assert!(part.events.len() <= LIMITS.events);
        }
    }
    assert_eq!((next, backlog.end()), (happened.events, happened.events));
    // The last word of each revision that waits is there.
    let told: BTreeSet<u64> = backlog.events().iter().map(|(number, _)| *number).collect();
    let waits = happened.words.values().filter(|number| **number >= backlog.first());
    assert!(waits.into_iter().all(|number| told.contains(number)));
    // It has a bound: joined as far as they may be, two roll-ups beside each other have
    // more events between them than one may have. Those in front were left as they were.
    assert!(backlog.roll_ups().len() <= LIMITS.parts + 2 * backlog.events().len() + 1);
}

fn run(steps: Vec<Step>) {
    let (mut backlog, mut ledger) = (Backlog::new(0), Ledger::default());
    let mut happened = Happened::default();
    for step in steps {
        match step {
            Step::Push(events) => {
                for (revision, outcome) in events {
                    let second = happened.events.cast_signed();
                    let event = event(revision, outcome, second);
                    *happened.counts.entry(event.step).or_default() += 1;
                    happened.words.insert(event.revision.clone(), happened.events);
                    happened.events += 1;
                    backlog.push(event);
                }
            }
            Step::RollUp(keep) => {
                let (size, front) = (backlog.size(), backlog.front(LIMITS));
                let before: Vec<_> = told_before(&backlog, front);
                let redundant = backlog.redundant(keep, LIMITS);
                let gone = backlog.roll_up(keep, LIMITS);
                assert_eq!(gone, redundant);
                assert!(backlog.front(LIMITS) >= front && backlog.size() <= size);
                assert_eq!(told_before(&backlog, front), before);
                assert!(gone == 0 || backlog.rolled_up() >= gone as u64);
            }
            Step::Tell(taken, known) => {
                let parts = || backlog.parts(LIMITS).take(LIMITS.parts);
                parts().take(taken).for_each(|part| ledger.take(&part));
                let known = parts().take(known.min(taken)).last().map(|part| part.run.end);
                backlog.forget(known.unwrap_or(backlog.first()));
            }
            Step::Restart => {
                let entries = backlog.entries().map(|entry| match entry {
                    Entry::Event(event) => Entry::Event(event.clone()),
                    Entry::RollUp(one) => Entry::RollUp(one),
                });
                let read = Backlog::read(backlog.first(), entries).expect("what was written");
                assert_eq!(read, backlog);
                backlog = read;
            }
        }
        check(&backlog, &happened);
    }
    while !backlog.is_empty() {
        let part = backlog.parts(LIMITS).next().expect("a part");
        ledger.take(&part);
        let to = part.run.end;
        backlog.forget(to);
    }
    assert_eq!(ledger.held, Intervals::of([0..0, 0..happened.events]));
    assert_eq!((ledger.counts, ledger.words), (happened.counts, happened.words));
}

/// All that is told of the numbers before one.
fn told_before(backlog: &Backlog<Event>, number: u64) -> Vec<(Range<u64>, String)> {
    let parts = backlog.parts(LIMITS).take_while(|part| part.run.end <= number);
    parts.map(|part| (part.run.clone(), format!("{part:?}"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_all_is_counted_once(steps in prop::collection::vec(step(), 0..40)) {
        run(steps);
    }
}

#[test]
fn the_last_words_and_the_front_stay() {
    let mut backlog = Backlog::new(10);
    for number in 0..40u8 {
        backlog.push(event(number % 4, 2, number.into()));
    }
    assert_eq!(backlog.roll_up(10, LIMITS), 40 - 10 - FRONT);
    assert_eq!(backlog.front(LIMITS), 10 + FRONT as u64);
    assert_eq!((backlog.roll_ups().len(), backlog.rolled_up()), (1, 24));
    assert_eq!(backlog.roll_ups()[0].span(), 16..40);
    assert_eq!(backlog.roll_up(10, LIMITS), 0);
    // Of the others those that are no last words.
    assert_eq!(backlog.roll_up(0, LIMITS), 6);
    assert_eq!((backlog.roll_ups()[0].span(), backlog.size()), (16..46, FRONT + 4 + 1));
    // When the front was told the next part is the roll-up, which stays as it is.
    backlog.forget(16);
    for number in 0..40u8 {
        backlog.push(event(number % 4, 2, number.into()));
    }
    let told = told_before(&backlog, 46);
    assert!(backlog.roll_up(0, LIMITS) > 0);
    assert_eq!(told_before(&backlog, 46), told);
}

#[test]
fn with_numbers_from_zero_on_it_tells_the_same() {
    let mut backlog = Backlog::new(10);
    for number in 0..40u8 {
        backlog.push(event(number % 4, 2, number.into()));
    }
    backlog.roll_up(10, LIMITS);
    backlog.forget(13);
    let told = |backlog: &Backlog<Event>, by: u64| {
        let part = |part: Part<'_, Event>| {
            let run = part.run.start - by..part.run.end - by;
            let counts = part.rolled_up.map(|one| one.counts().clone());
            let events: Vec<Event> = part.events.iter().map(|(_, event)| event.clone()).collect();
            (run, counts, events)
        };
        backlog.parts(LIMITS).map(part).collect::<Vec<_>>()
    };
    let anew = backlog.clone().from_zero();
    assert_eq!((anew.first(), anew.end()), (0, backlog.end() - 13));
    assert!(anew.rolled_up() > 0);
    assert_eq!(told(&anew, 0), told(&backlog, 13));
    // It can be written down and read.
    let entries: Vec<Entry<Event>> = anew
        .entries()
        .map(|entry| match entry {
            Entry::Event(event) => Entry::Event(event.clone()),
            Entry::RollUp(one) => Entry::RollUp(one),
        })
        .collect();
    assert_eq!(Backlog::read(0, entries), Some(anew));
}

#[test]
fn with_a_last_word_each_nothing_goes() {
    let mut backlog = Backlog::new(0);
    for number in 0..100u8 {
        backlog.push(event(number, 2, number.into()));
    }
    assert_eq!(backlog.roll_up(0, LIMITS), 0);
}

#[test]
fn what_does_not_hold_together_is_no_backlog() {
    let roll_up = |number| {
        Entry::RollUp(RollUp::of(number, (Phase::Reboot, Outcome::Success), Timestamp::UNIX_EPOCH))
    };
    let read = |first, entries: Vec<Entry<Event>>| Backlog::read(first, entries);
    assert!(read(3, vec![roll_up(3), Entry::Event(event(1, 1, 1))]).is_some());
    assert!(read(3, vec![roll_up(4)]).is_none());
    assert!(read(3, vec![roll_up(3), roll_up(3)]).is_none());
    assert!(read(u64::MAX - 1, vec![]).is_none());
    // One of whose events some are gone.
    let mut wide = RollUp::of(3, (Phase::Reboot, Outcome::Success), Timestamp::UNIX_EPOCH);
    wide.absorb(&RollUp::of(5, (Phase::Reboot, Outcome::Success), Timestamp::UNIX_EPOCH));
    assert!(read(3, vec![Entry::RollUp(wide.clone())]).is_none());
    let whole = read(3, vec![Entry::RollUp(wide), Entry::Event(event(1, 1, 1))]).expect("whole");
    assert_eq!((whole.end(), whole.events()[0].0), (6, 4));
}
