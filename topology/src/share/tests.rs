use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PIECES: u64 = 256;
const MOST: usize = 512;

fn name(number: usize) -> NodeName {
    format!("branch-{number}").parse().unwrap()
}

/// The nodes beside `own` among the first `count`.
fn others(own: usize, count: usize) -> Vec<Beside> {
    let others = (0..count).filter(|number| *number != own);
    others.map(|number| Beside { name: name(number), holds: false }).collect()
}

fn share(own: usize, count: usize) -> Share {
    let blob = Digest::of(b"blob");
    Share::new(&blob, &name(own), true, &others(own, count), &[0..PIECES])
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pieces(ranges: &[Range<u64>]) -> Vec<u64> {
    ranges.iter().cloned().flatten().collect()
}

fn sources(count: usize) -> Vec<Source> {
    let beside = (0..count).map(Source::Beside);
    std::iter::once(Source::Above).chain(beside).collect()
}

/// Who fetches a run from above, as `own` sees it.
fn owner(blob: &Digest, own: usize, nodes: &[usize], run: u64) -> usize {
    let beside: Vec<usize> = nodes.iter().copied().filter(|number| *number != own).collect();
    let named = |number: &usize| Beside { name: name(*number), holds: false };
    let named: Vec<Beside> = beside.iter().map(named).collect();
    match ranking(blob, &name(own), &named, run)[0] {
        Source::Above => own,
        Source::Beside(number) => beside[number],
    }
}

#[test]
fn together_they_ask_above_once_and_each_for_about_as_much() {
    let mut asked = Vec::new();
    for own in 0..16 {
        let mine = pieces(&share(own, 16).take(Source::Above, at(0), MOST));
        assert!(mine.len() < PIECES as usize / 5, "{own} fetches {} pieces", mine.len());
        asked.extend(mine);
    }
    asked.sort_unstable();
    assert_eq!(asked, (0..PIECES).collect::<Vec<_>>());
}

#[test]
fn alone_it_asks_above_for_everything() {
    let mut share = share(0, 1);
    assert_eq!(share.take(Source::Above, at(0), MOST), [0..PIECES]);
    (0..PIECES).for_each(|piece| share.came(Source::Above, piece));
    assert!(!share.is_over());
    assert!((0..PIECES).map(|piece| share.proven(piece)).last().unwrap());
    assert!(share.is_over());
}

#[test]
fn who_holds_it_is_asked_first() {
    let blob = Digest::of(b"blob");
    let mut beside = others(0, 4);
    beside[1].holds = true;
    let mut share = Share::new(&blob, &name(0), false, &beside, &[0..PIECES]);
    assert_eq!(share.take(Source::Beside(1), at(0), MOST), [0..PIECES]);
    assert!(!share.is_over());
    // Nobody else can have it without somebody above.
    share.gone(Source::Beside(1));
    assert!(share.is_over() && !share.is_done());
}

#[test]
fn the_runs_of_one_that_fails_go_to_the_next_of_each() {
    let mut share = share(0, 4);
    let lost = pieces(&share.take(Source::Beside(0), at(0), MOST));
    for source in [Source::Above, Source::Beside(1), Source::Beside(2)] {
        assert!(!share.take(source, at(0), MOST).is_empty());
    }
    share.came(Source::Beside(0), lost[0]);
    share.gone(Source::Beside(0));
    assert!(share.take(Source::Beside(0), at(1), MOST).is_empty());
    let again = [Source::Above, Source::Beside(1), Source::Beside(2)]
        .map(|source| pieces(&share.take(source, at(1), MOST)));
    assert!(again.iter().all(|pieces| !pieces.is_empty()), "{again:?}");
    let again: BTreeSet<u64> = again.concat().into_iter().collect();
    assert_eq!(again, lost[1..].iter().copied().collect());
}

#[test]
fn a_piece_that_is_false_costs_only_itself() {
    let mut share = share(0, 2);
    let theirs = pieces(&share.take(Source::Beside(0), at(0), MOST));
    let mine = pieces(&share.take(Source::Above, at(0), MOST));
    for piece in &theirs {
        share.came(Source::Beside(0), *piece);
    }
    share.refuted(theirs[1]);
    share.gone(Source::Beside(0));
    for piece in mine {
        share.came(Source::Above, piece);
        share.proven(piece);
    }
    theirs.iter().filter(|piece| **piece != theirs[1]).for_each(|piece| {
        assert!(!share.proven(*piece));
    });
    share.rested(Source::Above, at(1));
    assert_eq!(pieces(&share.take(Source::Above, at(1), MOST)), [theirs[1]]);
    share.came(Source::Above, theirs[1]);
    assert!(share.proven(theirs[1]));
}

#[test]
fn one_that_does_not_know_of_it_yet_keeps_its_runs_for_a_while() {
    let mut share = share(0, 2);
    let theirs = share.take(Source::Beside(0), at(0), MOST);
    share.later(Source::Beside(0), at(2));
    let mine = share.take(Source::Above, at(1), MOST);
    assert!(pieces(&mine).iter().all(|piece| !pieces(&theirs).contains(piece)));
    assert!(share.take(Source::Beside(0), at(1), MOST).is_empty());
    assert_eq!(share.look_again(Source::Beside(0), at(1)), Some(at(2)));
    assert_eq!(share.take(Source::Beside(0), at(2), MOST), theirs);
}

#[test]
fn what_others_rely_on_comes_from_above() {
    let mut share = share(0, 3);
    let theirs = pieces(&share.take(Source::Beside(1), at(0), MOST));
    share.take(Source::Above, at(0), MOST);
    assert!(share.pin(theirs[0]));
    assert!(!share.pin(theirs[0]));
    let pinned = pieces(&share.take_pinned(at(0), MOST));
    assert!(pinned.contains(&theirs[0]) && pinned.len() <= RUN as usize, "{pinned:?}");
    assert!(share.take_pinned(at(0), MOST).is_empty());
    // Nobody waits for two who wait for each other.
    share.gone(Source::Above);
    assert!(share.is_over());
}

#[test]
fn an_idle_source_takes_from_one_that_is_far_slower() {
    let slow = Source::Beside(0);
    let idle = |seconds: u64, brought: usize| {
        let mut share = share(0, 2);
        let theirs = pieces(&share.take(slow, at(0), MOST));
        for piece in pieces(&share.take(Source::Above, at(0), MOST)) {
            share.came(Source::Above, piece);
            share.proven(piece);
        }
        share.rested(Source::Above, at(10));
        for piece in &theirs[..brought] {
            share.came(slow, *piece);
            share.proven(*piece);
        }
        (pieces(&share.take(Source::Above, at(seconds), MOST)), theirs)
    };
    // As fast as above, or nearly: it is left in peace.
    assert!(idle(10, 100).0.is_empty());
    assert!(idle(10, 40).0.is_empty());
    let (stolen, theirs) = idle(30, 4);
    assert!(!stolen.is_empty() && stolen.len() < theirs.len() * 2 / 3, "{stolen:?}");
    assert!(stolen.contains(theirs.last().unwrap()), "the last come last");
}

#[test]
fn no_more_ranges_are_asked_than_allowed() {
    let mut share = share(0, 2);
    let mut all = Vec::new();
    loop {
        let ranges = share.take(Source::Above, at(0), 3);
        assert!(ranges.len() <= 3);
        if ranges.is_empty() {
            break;
        }
        all.extend(pieces(&ranges));
        share.rested(Source::Above, at(0));
    }
    assert_eq!(
        all.len() + share.take(Source::Beside(0), at(0), MOST).into_iter().flatten().count(),
        256
    );
}

proptest! {
    #[test]
    fn all_agree_on_the_owner_and_a_change_moves_little(
        seed in any::<[u8; 32]>(),
        nodes in prop::collection::btree_set(0..64_usize, 2..20),
        run in 0..1000_u64,
    ) {
        let blob = Digest::from_bytes(seed);
        let nodes: Vec<usize> = nodes.into_iter().collect();
        let first = owner(&blob, nodes[0], &nodes, run);
        for own in &nodes {
            prop_assert_eq!(owner(&blob, *own, &nodes, run), first);
        }
        // Without any other node it has the same owner.
        for gone in nodes.iter().filter(|one| **one != first) {
            let fewer: Vec<usize> = nodes.iter().copied().filter(|one| one != gone).collect();
            prop_assert_eq!(owner(&blob, first, &fewer, run), first);
        }
    }

    /// Whatever sources do, every piece comes or it is said that it can't, and
    /// nobody who failed is asked again.
    #[test]
    fn it_ends_whatever_sources_do(
        count in 1..6_usize,
        holds in prop::collection::vec(any::<bool>(), 6),
        has_above in any::<bool>(),
        steps in prop::collection::vec((0..7_usize, 0..8_u8), 0..200),
    ) {
        let blob = Digest::of(b"blob");
        let mut beside = others(0, count);
        for (one, holds) in beside.iter_mut().zip(holds) {
            one.holds = holds;
        }
        let mut share = Share::new(&blob, &name(0), has_above, &beside, &[3..40, 50..77]);
        let all = sources(beside.len());
        let mut asked = vec![Vec::new(); all.len()];
        let mut gone = BTreeSet::new();
        let mut now = Duration::ZERO;
        let mut steps = steps.into_iter();
        for _ in 0..10_000 {
            if share.is_over() {
                break;
            }
            now += Duration::from_millis(500);
            let (number, what) = steps.next().unwrap_or((0, 0));
            let index = number % all.len();
            match what {
                6 => {
                    share.gone(all[index]);
                    asked[index].clear();
                    gone.insert(index);
                }
                7 => { share.pin(3 + number as u64 * 7); }
                5 => {
                    share.later(all[index], now + Duration::from_secs(1));
                    asked[index].clear();
                }
                _ => for (index, source) in all.iter().enumerate() {
                    if asked[index].is_empty() {
                        share.rested(*source, now);
                        asked[index] = pieces(&share.take(*source, now, MOST));
                        prop_assert!(asked[index].is_empty() || !gone.contains(&index));
                    }
                    if index == 0 {
                        asked[0].extend(pieces(&share.take_pinned(now, MOST)));
                    }
                    if asked[index].is_empty() {
                        continue;
                    }
                    let piece = asked[index].remove(0);
                    share.came(*source, piece);
                    if what == 4 { share.refuted(piece) } else { share.proven(piece); }
                },
            }
        }
        prop_assert!(share.is_over(), "it goes on for ever: {share:?}");
    }
}
