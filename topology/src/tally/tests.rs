use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn place(site: &str, group: &str) -> Place {
    Place { site: site.parse().unwrap(), group: group.parse().unwrap() }
}

fn revision(number: u8) -> RevisionId {
    format!("vendor:stable/app{number}@1").parse().unwrap()
}

fn name(text: &str) -> MachineName {
    text.parse().unwrap()
}

fn word(sequence: u64, phase: Phase, outcome: Outcome) -> Last {
    let position = Position { began: at(0), epoch: 7, sequence };
    let (standing, at) = (Standing::of(phase, outcome), at(sequence as i64 * 100));
    Last { position, phase, standing, code: 0, is_looping: false, at }
}

fn said(number: u8, last: Last) -> News {
    News { seen: Some(last.at), words: vec![(revision(number), last)], ..News::default() }
}

#[test]
fn a_machine_that_failed_and_then_succeeded_is_installed_and_nothing_else() {
    let mut tallies = Tallies::default();
    let (one, mut machine) = (name("one"), Machine::new(place("emea/fr", "workstations")));
    tallies.enter(&one, &machine);
    let counts = |tallies: &Tallies| tallies.counts([&revision(1)], Area::default());
    assert_eq!(counts(&tallies), Count { known: 1, ..Count::default() });
    let failed = word(0, Phase::Installation, Outcome::Failure);
    let done = word(2, Phase::Installation, Outcome::RebootRequired);
    assert_eq!(tallies.change(&one, &mut machine, said(1, failed)), [true]);
    assert_eq!((counts(&tallies).failed, counts(&tallies).reached), (1, 1));
    assert_eq!(tallies.change(&one, &mut machine, said(1, done)), [true]);
    // What comes late, or twice, changes nothing.
    let late = word(1, Phase::Installation, Outcome::Failure);
    assert_eq!(tallies.change(&one, &mut machine, said(1, late)), [false]);
    assert_eq!(tallies.change(&one, &mut machine, said(1, done)), [false]);
    let count = counts(&tallies);
    assert_eq!((count.known, count.reached, count.installed, count.failed), (1, 1, 1, 0));
    assert_eq!(count.last, Some(at(180)));
    tallies.leave(&one, &machine);
    assert_eq!(tallies, Tallies::default());
}

#[test]
fn what_a_step_says() {
    use Outcome::{Cancelled, Declined, Failure, Pending, RebootRequired, Success};
    use Phase::{Detection, Download, Installation, Reboot, Removal};
    for (phase, outcome, standing) in [
        (Detection, Success, Standing::Installed),
        (Detection, Pending, Standing::Pending),
        (Download, Success, Standing::Pending),
        (Download, Failure, Standing::Failed),
        (Installation, Success, Standing::Installed),
        (Installation, RebootRequired, Standing::Installed),
        (Installation, Declined, Standing::Declined),
        (Installation, Cancelled, Standing::Declined),
        (Removal, Success, Standing::Removed),
        (Removal, Failure, Standing::Failed),
        (Reboot, Pending, Standing::Installed),
        (Reboot, Cancelled, Standing::Installed),
        (Reboot, Failure, Standing::Failed),
    ] {
        assert_eq!(Standing::of(phase, outcome), standing, "{phase} {outcome}");
    }
}

#[test]
fn an_area_is_asked_by_whole_steps_of_its_path() {
    let mut tallies = Tallies::default();
    for (index, site) in ["emea", "emea/fr", "emea/fr/lyon", "emea-x", "apac"].iter().enumerate() {
        for group in ["servers", "workstations"] {
            tallies.enter(&name(&format!("m{index}-{group}")), &Machine::new(place(site, group)));
        }
    }
    let known = |site: Option<&str>, group: Option<&str>| {
        let (site, group) = (site.map(|s| s.parse().unwrap()), group.map(|g| g.parse().unwrap()));
        tallies.known(Area { site: site.as_ref(), group: group.as_ref() })
    };
    assert_eq!(known(None, None), 10);
    assert_eq!(known(Some("emea"), None), 6);
    assert_eq!(known(Some("emea/fr"), Some("servers")), 2);
    assert_eq!(known(Some("emea-x"), None), 2);
    assert_eq!(known(Some("emea/f"), None), 0);
    assert_eq!(known(None, Some("servers")), 5);
}

#[test]
fn how_fresh_the_sample_is_can_be_asked() {
    let mut tallies = Tallies::default();
    let (one, mut machine) = (name("one"), Machine::new(place("emea", "servers")));
    tallies.enter(&one, &machine);
    tallies.enter(&name("two"), &Machine::new(place("emea", "servers")));
    assert_eq!(tallies.seen_since(Area::default(), Timestamp::MIN), 0);
    tallies.change(&one, &mut machine, News { seen: Some(at(7200)), ..News::default() });
    tallies.change(&one, &mut machine, News { seen: Some(at(0)), ..News::default() });
    assert_eq!(tallies.seen_since(Area::default(), at(7200)), 1);
    assert_eq!(tallies.seen_since(Area::default(), at(7200 + 3600)), 0);
}

#[test]
fn a_cell_counts_each_machine_once_for_all_its_revisions() {
    let mut tallies = Tallies::default();
    let (one, mut machine) = (name("one"), Machine::new(place("emea/fr", "servers")));
    tallies.enter(&one, &machine);
    let selection = Selection {
        revisions: [revision(1), revision(2)].into(),
        geographies: vec!["emea".parse().unwrap()],
        accepts: Some(Arc::new(|name| name.as_str() == "one")),
        ..Selection::default()
    };
    tallies.watch("r/w", Cell::over(selection, [(&one, &machine)])).unwrap();
    let done = word(1, Phase::Installation, Outcome::Success);
    tallies.change(&one, &mut machine, said(1, done));
    assert_eq!(tallies.cell("r/w").unwrap().total().installed, 1);
    tallies.change(&one, &mut machine, said(2, word(2, Phase::Installation, Outcome::Failure)));
    let total = tallies.cell("r/w").unwrap().total();
    assert_eq!((total.known, total.reached, total.installed, total.failed), (1, 1, 0, 1));
    // Another revision is no business of the cell.
    tallies.change(&one, &mut machine, said(3, done));
    assert_eq!(tallies.cell("r/w").unwrap().total(), total);
    tallies.unwatch("r/w");
    assert!(tallies.cell("r/w").is_none());
}

/// What happens to a few machines.
#[derive(Debug, Clone)]
enum Step {
    Join(u8, u8),
    Leave(u8),
    Report { machine: u8, place: Option<u8>, seen: i64, words: Vec<(u8, u8, u64, u8, u8)> },
    Watch(u8, Vec<u8>, u8),
    Unwatch(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let words = prop::collection::vec((0u8..5, 0u8..3, 0u64..20, 0u8..5, 0u8..6), 0..6);
    prop_oneof![
        3 => (0u8..6, 0u8..5).prop_map(|(machine, place)| Step::Join(machine, place)),
        1 => (0u8..6).prop_map(Step::Leave),
        9 => (0u8..6, prop::option::weighted(0.2, 0u8..5), 0i64..100_000, words)
            .prop_map(|(machine, place, seen, words)| Step::Report { machine, place, seen, words }),
        1 => (0u8..3, prop::collection::vec(0u8..5, 0..3), 0u8..4)
            .prop_map(|(cell, revisions, kind)| Step::Watch(cell, revisions, kind)),
        1 => (0u8..3).prop_map(Step::Unwatch),
    ]
}

fn at_place(number: u8) -> Place {
    let (site, group) = [
        ("emea/fr", "servers"),
        ("emea/fr/lyon", "servers"),
        ("emea/fr/lyon", "workstations"),
        ("emea-x", "workstations"),
        ("apac", "servers"),
    ][usize::from(number)];
    place(site, group)
}

fn last((_, epoch, sequence, phase, outcome): (u8, u8, u64, u8, u8)) -> Last {
    let (phase, outcome) = (Phase::ALL[usize::from(phase)], Outcome::ALL[usize::from(outcome)]);
    let position = Position { began: at(i64::from(epoch) * 50), epoch: u64::from(epoch), sequence };
    let at = at(sequence as i64 * 37 + i64::from(epoch));
    let standing = Standing::of(phase, outcome);
    Last { position, phase, standing, code: 0, is_looping: false, at }
}

fn selection(revisions: &[u8], kind: u8) -> Selection {
    let mut selection = Selection {
        revisions: revisions.iter().copied().map(revision).collect(),
        ..Default::default()
    };
    match kind {
        0 => {}
        1 => selection.geographies = vec!["emea".parse().unwrap(), "apac".parse().unwrap()],
        2 => selection.groups = ["servers".parse().unwrap()].into(),
        _ => selection.accepts = Some(Arc::new(|name| name.as_str() < "m3")),
    }
    selection
}

proptest! {
    /// Word by word or from nothing: the counts are the same.
    #[test]
    fn counting_on_equals_counting_again(steps in prop::collection::vec(step(), 0..120)) {
        let mut machines: BTreeMap<MachineName, Machine> = BTreeMap::new();
        let mut watched: BTreeMap<String, Selection> = BTreeMap::new();
        let mut tallies = Tallies::default();
        for step in steps {
            match step {
                Step::Join(number, place) => {
                    let name = name(&format!("m{number}"));
                    if let Some(old) = machines.remove(&name) {
                        tallies.leave(&name, &old);
                    }
                    let machine = Machine::new(at_place(place));
                    tallies.enter(&name, &machine);
                    machines.insert(name, machine);
                }
                Step::Leave(number) => {
                    let name = name(&format!("m{number}"));
                    if let Some(old) = machines.remove(&name) {
                        tallies.leave(&name, &old);
                    }
                }
                Step::Report { machine, place, seen, words } => {
                    let name = name(&format!("m{machine}"));
                    let Some(machine) = machines.get_mut(&name) else { continue };
                    let words = words.into_iter().map(|word| (revision(word.0), last(word)));
                    let place = place.map(at_place);
                    let news = News { place, seen: Some(at(seen)), words: words.collect() };
                    tallies.change(&name, machine, news);
                }
                Step::Watch(cell, revisions, kind) => {
                    let (name, selection) = (format!("c{cell}"), selection(&revisions, kind));
                    tallies.watch(&name, Cell::over(selection.clone(), &machines)).unwrap();
                    watched.insert(name, selection);
                }
                Step::Unwatch(cell) => {
                    tallies.unwatch(&format!("c{cell}"));
                    watched.remove(&format!("c{cell}"));
                }
            }
        }
        let mut again = Tallies::recount(&machines);
        for (name, selection) in watched {
            again.watch(&name, Cell::over(selection, &machines)).unwrap();
        }
        prop_assert_eq!(&tallies, &again);
        let total = tallies.counts([&revision(0), &revision(1)], Area::default());
        let parts = total.pending + total.installed + total.removed + total.failed + total.declined;
        prop_assert_eq!(total.reached, parts);
        prop_assert!(total.reached <= 2 * total.known);
    }

    /// In whatever order words come, and however often, the counts are the same.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        words in prop::collection::vec((0u8..4, 0u8..3, 0u64..12, 0u8..5, 0u8..6), 0..40),
        shuffled in any::<prop::sample::Index>(),
    ) {
        // One event has one place in its epoch.
        let mut seen = std::collections::BTreeSet::new();
        let words: Vec<_> = words.into_iter().filter(|word| seen.insert((word.1, word.2))).collect();
        let count = |words: &[(u8, u8, u64, u8, u8)]| {
            let (one, mut machine) = (name("one"), Machine::new(at_place(0)));
            let mut tallies = Tallies::default();
            tallies.enter(&one, &machine);
            for word in words {
                tallies.change(&one, &mut machine, said(word.0, last(*word)));
            }
            tallies
        };
        let mut other = words.clone();
        if !other.is_empty() {
            other.rotate_left(shuffled.index(words.len()));
            other.reverse();
            other.extend_from_slice(&words[..shuffled.index(words.len())]);
        }
        prop_assert_eq!(count(&words), count(&other));
    }
}
