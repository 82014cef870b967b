//! Transfers that always ask again, driven by a clock of their own.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::sample::select;
use proptest::{prop_assert, proptest};

use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

fn terms(rate: &str) -> Terms {
    Terms { rate: rate.parse().expect("a rate"), ..Terms::default() }
}

/// A queue whose transfers ask for a frame as soon as they had one.
#[derive(Default)]
struct World {
    queue: Queue,
    now: Duration,
    busy: BTreeMap<Id, (NodeName, u64)>,
}

impl World {
    fn with(lines: &[(&str, &str)]) -> Self {
        let mut world = Self::default();
        for (line, rate) in lines {
            world.queue.set_line(&name(line), terms(rate), world.now);
        }
        world
    }

    fn begin(&mut self, line: &str, class: Class) -> Id {
        let id = self.queue.join(&name(line), class);
        self.busy.insert(id, (name(line), 0));
        self.ask(id);
        id
    }

    fn ask(&mut self, id: Id) {
        let frame = self.queue.frame(&self.busy[&id].0);
        self.queue.ask(id, frame, self.now);
    }

    fn end(&mut self, id: Id) {
        self.queue.leave(id);
    }

    /// Runs until a time; says what each transfer had meanwhile.
    fn run(&mut self, until: Duration) -> BTreeMap<Id, u64> {
        let before: BTreeMap<Id, u64> =
            self.busy.iter().map(|(id, (_, had))| (*id, *had)).collect();
        loop {
            while let Some((id, bytes)) = self.queue.grant(self.now) {
                self.busy.get_mut(&id).expect("a transfer").1 += bytes;
                // Without a limit a frame still takes some time to move.
                self.now += Duration::from_micros(200);
                self.ask(id);
                if self.now >= until {
                    break;
                }
            }
            match self.queue.wake(self.now).filter(|at| *at < until) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        self.now = self.now.max(until);
        self.busy.iter().map(|(id, (_, had))| (*id, had - before[id])).collect()
    }
}

fn near(found: u64, wanted: u64, percent: u64) -> bool {
    found.abs_diff(wanted) * 100 <= wanted * percent
}

#[test]
fn limits_are_kept_within_two_percent() {
    for (rate, bytes) in
        [("1Mbit/s", 1_250_000), ("10Mbit/s", 12_500_000), ("100Mbit/s", 125_000_000)]
    {
        let mut world = World::with(&[("lyon", rate)]);
        let id = world.begin("lyon", Class::Normal);
        let had = world.run(ms(10_000))[&id];
        assert!(near(had, bytes, 2), "{rate}: {had}");
        assert_eq!(world.queue.held(id, world.now), Some(Hold::Line));
    }
}

#[test]
fn frames_follow_the_limit() {
    let mut world =
        World::with(&[("slow", "100kbit/s"), ("lyon", "8Mbit/s"), ("fast", "unlimited")]);
    let frame = |line: &str| world.queue.frame(&name(line));
    assert_eq!((frame("slow"), frame("lyon"), frame("fast")), (1024, 50_000, 1 << 20));
    assert_eq!(world.queue.window(&name("lyon")), 250_000);
    world.begin("lyon", Class::Normal);
    world.begin("lyon", Class::Background);
    assert_eq!(world.queue.window(&name("lyon")), 125_000, "all together no more than that");
    assert_eq!(world.queue.window(&name("fast")), u64::MAX);
}

#[test]
fn transfers_of_a_class_share_evenly() {
    let mut world = World::with(&[("lyon", "8Mbit/s")]);
    let first = world.begin("lyon", Class::Normal);
    world.run(ms(5_000));
    // Who comes later has no claim on what was before.
    let second = world.begin("lyon", Class::Normal);
    let had = world.run(ms(15_000));
    assert!(near(had[&first], 5_000_000, 3) && near(had[&second], 5_000_000, 3), "{had:?}");
}

#[test]
fn lines_share_the_node_evenly() {
    let mut world = World::with(&[("lyon", "unlimited"), ("nice", "unlimited")]);
    world.queue.set_node("8Mbit/s".parse().expect("a rate"), ms(0));
    let lone = world.begin("lyon", Class::Normal);
    let many: Vec<Id> = (0..3).map(|_| world.begin("nice", Class::Normal)).collect();
    let had = world.run(ms(10_000));
    let nice: u64 = many.iter().map(|id| had[id]).sum();
    assert!(near(had[&lone], 5_000_000, 3) && near(nice, 5_000_000, 3), "{had:?}");
    assert_eq!(world.queue.held(lone, world.now), Some(Hold::Node));
}

#[test]
fn a_site_is_not_held_to_the_node_limit() {
    let mut world = World::default();
    world.queue.set_node("8Mbit/s".parse().expect("a rate"), ms(0));
    let local = Terms { is_local: true, ..Terms::default() };
    world.queue.set_line(&name("sibling"), local, ms(0));
    let sibling = world.begin("sibling", Class::Normal);
    let branch = world.begin("lyon", Class::Normal);
    let had = world.run(ms(1_000));
    assert!(had[&sibling] > 100_000_000 && near(had[&branch], 1_000_000, 10), "{had:?}");
}

#[test]
fn the_urgent_overtakes_with_and_without_a_limit() {
    for rate in ["10Mbit/s", "unlimited"] {
        let mut world = World::with(&[("lyon", rate)]);
        let bulk = world.begin("lyon", Class::Background);
        assert!(world.run(ms(1_000))[&bulk] > 1_000_000);
        let critical = world.begin("lyon", Class::Critical);
        let had = world.run(ms(2_000));
        assert!(had[&bulk] <= 1 << 20 && had[&critical] > 1_000_000, "{rate}: {had:?}");
        assert_eq!(world.queue.held(bulk, world.now), Some(Hold::Urgent(Class::Critical)));
        world.end(critical);
        world.busy.remove(&critical);
        assert!(world.run(ms(3_000))[&bulk] > 1_000_000, "{rate}: released at once");
    }
}

#[test]
fn an_urgent_transfer_that_moves_nothing_holds_nobody_up() {
    let mut world = World::with(&[("lyon", "10Mbit/s")]);
    let bulk = world.begin("lyon", Class::Normal);
    let critical = world.queue.join(&name("lyon"), Class::Critical);
    assert!(world.run(ms(1_000))[&bulk] > 1_000_000, "it never asked");
    world.queue.ask(critical, 1000, world.now);
    while world.queue.grant(world.now).map(|(id, _)| id) != Some(critical) {
        world.now = world.queue.wake(world.now).expect("a turn");
    }
    assert_eq!(world.queue.wake(world.now), Some(world.now + MOVING));
    let began = world.now;
    assert!(world.run(began + ms(1_000))[&bulk] > 500_000, "it asked once");
}

#[test]
fn bulk_waits_for_its_hours() {
    let mut world = World::with(&[("lyon", "10Mbit/s")]);
    let bulk = world.begin("lyon", Class::Normal);
    let critical = world.begin("lyon", Class::Critical);
    let closed = Terms { bulk_open: false, ..terms("10Mbit/s") };
    world.queue.set_line(&name("lyon"), closed, ms(0));
    let had = world.run(ms(1_000));
    assert!(had[&bulk] == 0 && had[&critical] > 1_000_000, "{had:?}");
    assert_eq!(world.queue.held(bulk, world.now), Some(Hold::Closed));
    // A class that may not pass holds up nobody below it.
    let odd = Terms { critical_open: false, ..terms("10Mbit/s") };
    world.queue.set_line(&name("lyon"), odd, world.now);
    let had = world.run(ms(2_000));
    assert!(had[&critical] == 0 && had[&bulk] > 500_000, "{had:?}");
}

#[test]
fn what_asks_nobody_counts() {
    let mut world = World::with(&[("lyon", "8Mbit/s")]);
    let bulk = world.begin("lyon", Class::Normal);
    let mut total = 0;
    for second in 1..=10 {
        world.queue.charge(&name("lyon"), 500_000, world.now);
        total += world.run(ms(second * 1_000))[&bulk];
    }
    assert!(near(total, 5_000_000, 3), "{total}");
}

#[test]
fn a_change_is_in_force_at_once() {
    let mut world = World::with(&[("lyon", "100Mbit/s")]);
    let bulk = world.begin("lyon", Class::Normal);
    world.run(ms(1_000));
    world.queue.set_line(&name("lyon"), terms("1Mbit/s"), world.now);
    world.run(ms(2_000));
    let had = world.run(ms(12_000))[&bulk];
    assert!(near(had, 1_250_000, 2), "{had}");
    world.queue.reclass(bulk, Class::Critical);
    world.queue.set_line(&name("lyon"), terms("100Mbit/s"), world.now);
    let had = world.run(ms(22_000))[&bulk];
    assert!(near(had, 125_000_000, 2), "{had}");
}

#[test]
fn who_leaves_or_cancels_is_forgotten() {
    let mut world = World::with(&[("lyon", "1Mbit/s")]);
    let (one, other) = (world.begin("lyon", Class::Normal), world.begin("lyon", Class::Normal));
    world.end(one);
    assert!(world.queue.cancel(other) && !world.queue.cancel(other));
    assert_eq!((world.queue.grant(ms(0)), world.queue.wake(ms(0))), (None, None));
    world.queue.leave(one);
    world.queue.ask(one, 1, ms(0));
    assert_eq!(world.queue.grant(ms(0)), None);
}

proptest! {
    /// Whatever joins, nobody who may pass waits for ever, and no limit is broken.
    #[test]
    fn the_limit_holds_and_is_used(
        classes in vec(select(Class::ALL.to_vec()), 1..12),
        rate in select(vec!["1Mbit/s", "7Mbit/s", "90Mbit/s"]),
    ) {
        let mut world = World::with(&[("lyon", rate)]);
        for class in &classes {
            world.begin("lyon", *class);
        }
        let had = world.run(ms(5_000));
        let limit: Rate = rate.parse().expect("a rate");
        let (sum, frame) = (had.values().sum::<u64>(), world.queue.frame(&name("lyon")));
        prop_assert!(sum <= limit.bytes_in(ms(5_025)) + frame, "{sum}");
        prop_assert!(sum + 2 * frame >= limit.bytes_in(ms(5_000)), "{sum}");
        let top = classes.iter().min().expect("a class");
        for (class, had) in classes.iter().zip(had.values()) {
            prop_assert!((class == top) == (*had > 0), "{class} had {had}");
        }
    }
}
