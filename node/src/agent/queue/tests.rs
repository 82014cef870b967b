use std::collections::BTreeMap;
use std::fs;

use patchmesh_topology::interval::Intervals;
use proptest::prelude::*;

use super::*;

fn event(number: i64) -> Event {
    of("vendor:stable/app@1", number)
}

fn of(revision: &str, number: i64) -> Event {
    let (phase, outcome) = (Phase::Installation, Outcome::Success);
    Event::new(revision, phase, outcome, number, "a\nb", Timestamp::UNIX_EPOCH)
}

fn codes(queue: &Queue) -> Vec<i64> {
    queue.events().iter().map(|(_, event)| event.code).collect()
}

fn open(folder: &tempfile::TempDir) -> Queue {
    Queue::open(folder.path().to_owned()).expect("a queue")
}

/// The front, in events.
const FRONT: usize = LIMITS.events * LIMITS.parts;

#[test]
fn what_was_pushed_is_there_again_and_numbers_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    queue.push((0..5).map(event).collect()).expect("taken");
    let epoch = queue.epoch();
    queue.forget(2).expect("forgotten");
    queue.push(vec![event(5)]).expect("taken");
    drop(queue);
    let queue = open(&folder);
    assert_eq!((queue.epoch(), queue.first(), codes(&queue)), (epoch, 2, vec![2, 3, 4, 5]));
    assert_eq!(queue.events()[0].1.message, "a b");
}

#[test]
fn a_line_that_was_cut_is_dropped_and_a_damaged_head_begins_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    queue.push((0..3).map(event).collect()).expect("taken");
    let (epoch, path) = (queue.epoch(), queue.path.clone());
    let text = fs::read_to_string(&path).expect("text");
    fs::write(&path, &text[..text.len() - 4]).expect("cut");
    let mut queue = open(&folder);
    assert_eq!((queue.epoch(), codes(&queue)), (epoch, vec![0, 1]));
    queue.push(vec![event(9)]).expect("taken");
    assert_eq!(codes(&open(&folder)), [0, 1, 9]);
    let mut bytes = fs::read(&path).expect("bytes");
    bytes.extend_from_slice(b"\xff\xfe\n");
    fs::write(&path, bytes).expect("no text");
    assert_eq!(codes(&open(&folder)), [0, 1, 9]);
    fs::write(&path, "{}\n").expect("damaged");
    let queue = open(&folder);
    assert!(queue.epoch() != epoch && queue.is_empty() && queue.first() == 0);
}

#[test]
fn one_that_was_put_back_is_known_by_what_a_node_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    assert!(!queue.has_news() && queue.is_put_back(1), "nobody has heard of it");
    queue.push((0..5).map(event).collect()).expect("taken");
    queue.begin_to_tell().expect("written down");
    queue.forget(3).expect("forgotten");
    // What may have been told by the process before is no sign.
    let mut queue = open(&folder);
    assert!(!queue.has_news() && !queue.is_put_back(5) && queue.is_put_back(6));
    // What nobody was told is, however often it is opened and written.
    queue.push(vec![event(5)]).expect("taken");
    let mut queue = open(&folder);
    queue.push(vec![event(6)]).expect("taken");
    queue.forget(4).expect("forgotten");
    assert!(queue.has_news() && !queue.is_put_back(5) && queue.is_put_back(6));
    queue.begin_to_tell().expect("written down");
    assert!(!queue.has_news() && !queue.is_put_back(7) && queue.is_put_back(8));

    let (epoch, began) = (queue.epoch(), queue.began());
    queue.begin_again().expect("begun");
    assert!(queue.epoch() != epoch && queue.began() > began);
    assert!(queue.has_news() && queue.is_put_back(1));
    assert_eq!((queue.first(), codes(&queue)), (0, vec![4, 5, 6]));
    assert_eq!(queue.events().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
    let again = open(&folder);
    assert_eq!((again.epoch(), codes(&again)), (queue.epoch(), vec![4, 5, 6]));
    assert!(again.has_news() && again.is_put_back(1) && !again.is_damaged());
}

#[test]
fn one_that_began_again_does_so_once_a_day_at_most() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    assert_eq!(queue.goes_on_until(Timestamp::now()), None);
    queue.begin_again().expect("begun");
    let queue = open(&folder);
    let hours = |hours| queue.began() + SignedDuration::from_hours(hours);
    assert_eq!([0, 23].map(|now| queue.goes_on_until(hours(now))), [Some(hours(24)); 2]);
    assert_eq!(queue.goes_on_until(hours(24)), None, "a day later");
    assert_eq!(queue.goes_on_until(hours(-24)), None, "by another clock");
}

#[test]
fn one_that_lost_what_it_told_begins_again_with_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    queue.push((0..5).map(event).collect()).expect("taken");
    queue.begin_to_tell().expect("written down");
    queue.forget(2).expect("forgotten");
    let text = fs::read_to_string(&queue.path).expect("text");
    fs::write(&queue.path, &text[..text.len() - 4]).expect("cut");
    let less = open(&folder);
    assert!(less.epoch() != queue.epoch() && less.is_damaged());
    assert_eq!((less.first(), codes(&less)), (0, vec![2, 3]));
    assert!(!open(&folder).is_damaged(), "it is whole");
    // An earlier agent did not write down what it told.
    let (head, rest) = text.split_once('\n').expect("a head");
    let mut head: serde_json::Value = serde_json::from_str(head).expect("JSON");
    head.as_object_mut().expect("an object").remove("untold").expect("it is there");
    fs::write(&queue.path, format!("{head}\n{rest}")).expect("written");
    let earlier = open(&folder);
    assert_eq!((earlier.epoch(), codes(&earlier)), (queue.epoch(), vec![2, 3, 4]));
    assert!(!earlier.is_put_back(5) && earlier.is_put_back(6));
}

#[test]
fn what_could_not_be_written_down_is_told_nobody_and_nothing_is_lost_by_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    queue.push((0..3).map(event).collect()).expect("taken");
    // Nothing takes the place of a folder with something in it.
    fs::remove_file(&queue.path).expect("removed");
    fs::create_dir_all(queue.path.join("in the way")).expect("a folder");
    for _ in 0..2 {
        queue.begin_to_tell().expect_err("it cannot be written");
        assert!(queue.has_news() && queue.is_put_back(1));
    }
    queue.push(vec![event(3)]).expect_err("nor can this be kept");
    assert_eq!(codes(&queue), [0, 1, 2]);
    fs::remove_dir_all(&queue.path).expect("out of the way");
    queue.push(vec![event(4)]).expect("taken");
    let mut queue = open(&folder);
    assert_eq!(codes(&queue), [0, 1, 2, 4]);
    queue.begin_to_tell().expect("written down");
    assert!(!queue.has_news() && !open(&folder).has_news());
}

#[test]
fn what_was_written_in_part_does_not_hide_what_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    queue.push(vec![event(0)]).expect("taken");
    // What a write leaves that a full disk broke off.
    let mut file = OpenOptions::new().append(true).open(&queue.path).expect("the file");
    file.write_all(b"{\"revision\":\"ven").expect("half a line");
    queue.push(vec![event(1)]).expect("taken");
    assert_eq!(codes(&open(&folder)), [0, 1]);
}

#[test]
fn a_file_of_before_opens_and_what_it_may_have_told_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = "{\"epoch\":7,\"began\":\"2026-01-01T00:00:00Z\",\"first\":3}\n".to_owned();
    for number in 0..MAX_EVENTS {
        text.push_str(&format!(
            "{{\"revision\":\"vendor:stable/app@{}\",\"phase\":3,\"outcome\":2,\"code\":{number},\"message\":\"\",\"at\":\"2026-01-02T00:00:00Z\"}}\n",
            number % 10
        ));
    }
    fs::write(folder.path().join(FILE), text).expect("written");
    // It was full; there is room at once.
    let queue = open(&folder);
    assert_eq!((queue.epoch(), queue.first()), (7, 3));
    assert!(queue.room() >= MAX_EVENTS / 4, "{}", queue.room());
    let waiting = queue.waiting();
    assert_eq!((waiting.events, queue.bound), (MAX_EVENTS as u64, MAX_EVENTS));
    assert_eq!(waiting.rolled_up as usize + queue.events().len(), MAX_EVENTS);
    let told: Vec<i64> = codes(&queue).into_iter().take(FRONT).collect();
    assert_eq!(told, (0..FRONT as i64).collect::<Vec<_>>());
    // Those that came last are there in detail.
    let last: Vec<i64> = codes(&queue).into_iter().rev().take(MAX_EVENTS / 2).collect();
    assert_eq!(last, (0..MAX_EVENTS as i64).rev().take(MAX_EVENTS / 2).collect::<Vec<_>>());
    assert_eq!(Queue::waiting_in(folder.path()).expect("read"), waiting);
}

#[test]
fn it_has_a_bound_that_old_events_make_room_for_and_last_words_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder).with_bound(1200).expect("a queue");
    for number in 0..300 {
        queue.push(vec![event(number); 10]).expect("taken");
    }
    assert_eq!(queue.waiting().events, 3000);
    assert!(queue.backlog.size() <= 900, "a quarter is free: {}", queue.backlog.size());
    assert_eq!(codes(&queue).last(), Some(&299));
    // A last word each: they stay, and in the end there is no room.
    let mut number = 3000;
    let refused = loop {
        let words = number..number + 10;
        let words = words.map(|one| of(&format!("vendor:stable/app@{one}"), one)).collect();
        match queue.push(words) {
            Ok(()) => number += 10,
            Err(error) => break error,
        }
        assert!(number < 9000, "it takes without end");
    };
    assert!(matches!(refused, Error::Full(1180..=1200)), "{refused}");
    assert!(refused.to_string().contains("nothing is done until one does"), "{refused}");
    assert_eq!(queue.waiting(), open(&folder).waiting());
    // Once a node has taken some there is room again.
    let to = queue.parts().last().expect("a part").run.end;
    queue.forget(to).expect("forgotten");
    queue.push(vec![event(1)]).expect("taken");
}

#[test]
fn what_the_disk_did_not_take_is_not_rolled_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = open(&folder);
    queue.push((0..1000).map(event).collect()).expect("taken");
    // The file cannot be replaced there.
    queue.path = folder.path().join("gone").join(FILE);
    let before = queue.backlog.clone();
    queue.bound = 1000;
    assert!(matches!(queue.push(vec![event(1)]), Err(Error::Write { .. })));
    assert_eq!(queue.backlog, before);
}

/// As a node that counts has it.
#[derive(Default)]
struct Counted {
    held: Intervals,
    events: BTreeMap<i32, u64>,
}

impl Counted {
    fn take(&mut self, part: &Part<'_, Event>) {
        let new: Vec<_> = self.held.gaps(part.run.clone()).collect();
        let is_new = |number: &u64| new.iter().any(|run| run.contains(number));
        if let Some(one) = part.rolled_up {
            let count = one.runs().runs().flatten().filter(is_new).count() as u64;
            assert!(count == 0 || count == one.count(), "told in two forms");
            for ((_, outcome), count) in one.counts().iter().filter(|_| count > 0) {
                let outcome = patchmesh_proto::report::Outcome::from(*outcome).into();
                *self.events.entry(outcome).or_default() += count;
            }
        }
        for (_, event) in part.events.iter().filter(|(number, _)| is_new(number)) {
            *self.events.entry(event.outcome).or_default() += 1;
        }
        self.held.insert(part.run.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Pushes, requests of which the node takes some and answers for fewer, and ends
    /// of the agent at any moment.
    #[test]
    fn what_a_node_counts_is_what_happened(
        steps in prop::collection::vec((0usize..700, 0usize..7, 0usize..5, 0usize..5, any::<bool>()), 1..12)
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut node, mut happened) = (Counted::default(), BTreeMap::new());
        let mut queue = open(&folder).with_bound(1200).expect("a queue");
        let mut number = 0;
        for (events, kind, taken, known, ends) in steps {
            let mut made = Vec::new();
            for _ in 0..events {
                let mut event = of(&format!("vendor:stable/app@{}", number % 13), number);
                event.outcome = 1 + i32::try_from(kind.min(5)).expect("small");
                *happened.entry(event.outcome).or_default() += 1;
                made.push(event);
                number += 1;
            }
            for portion in made.chunks(200) {
                queue.push(portion.to_vec()).expect("room");
            }
            prop_assert!(queue.backlog.size() <= 1200);
            queue.parts().take(taken).for_each(|part| node.take(&part));
            let to = queue.parts().take(known.min(taken)).last().map(|part| part.run.end);
            if let Some(to) = to {
                queue.forget(to).expect("forgotten");
            }
            if ends {
                queue = open(&folder).with_bound(1200).expect("a queue");
            }
        }
        while !queue.is_empty() {
            queue.parts().for_each(|part| node.take(&part));
            let to = queue.parts().last().expect("a part").run.end;
            queue.forget(to).expect("forgotten");
        }
        prop_assert_eq!(node.events, happened);
        prop_assert_eq!(node.held, Intervals::of([0..0, 0..number.cast_unsigned()]));
    }
}
