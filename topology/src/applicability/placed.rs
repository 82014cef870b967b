//! Revisions whose files are put in the place of others: which of them a machine gets,
//! how it tells that they are there, and whose a path is that several want.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::inventory::Inventory;
use super::rule::{FileTest, Rule, Test};
use super::{Answer, Candidate, Choice, Detection, Standing, State, Verdict, ask, is_for, verdict};
use crate::revision::{Payload, Revision, RevisionId};
use crate::subscription::are_related;
use crate::supersedence::{Entry, newer, superseded};

/// The rules that a verdict on `revision` asks.
#[must_use]
pub fn rules(revision: &Revision) -> Vec<Rule> {
    let detection = revision.facts.detection.as_ref();
    let stated = detection.iter().flat_map(|one| one.applies.iter().chain(&one.installed));
    let mut rules: Vec<Rule> = stated.cloned().collect();
    if is_by_its_files(revision) {
        rules.extend(revision.payloads.iter().filter_map(test));
    }
    rules
}

/// Whether it is there where its files are.
pub(super) fn is_by_its_files(revision: &Revision) -> bool {
    let states = |one: &Detection| one.installed.is_some();
    revision.is_placed() && !revision.facts.detection.as_ref().is_some_and(states)
}

/// Whether all its files for the machine are there as they are stated.
pub(super) fn all_there(revision: &Revision, machine: &Inventory) -> Answer {
    let mut tests: Vec<Rule> = files_for(revision, machine).into_iter().filter_map(test).collect();
    match (tests.pop(), tests.is_empty()) {
        (None, _) => Answer::Unknown("it has no file for this machine".to_owned()),
        (Some(test), true) => ask(&test, machine),
        (Some(test), false) => {
            tests.push(test);
            ask(&Rule::All(tests), machine)
        }
    }
}

fn test(payload: &Payload) -> Option<Rule> {
    let place = payload.place.as_ref()?;
    Some(Rule::Test(Test::File(place.path.clone(), FileTest::Content(payload.sha256))))
}

/// The files that the machine gets. Of several for one path that is what is for the
/// first of its architectures, then of its languages.
pub(super) fn files_for<'a>(revision: &'a Revision, machine: &Inventory) -> Vec<&'a Payload> {
    let rank = |payload: &Payload| {
        let by_architecture =
            machine.architectures.iter().position(|one| *one == payload.architecture);
        let by_language = machine
            .languages
            .iter()
            .position(|one| !payload.language.is_empty() && are_related(one, &payload.language));
        (by_architecture.unwrap_or(usize::MAX), by_language.unwrap_or(usize::MAX))
    };
    let mut best: BTreeMap<&str, &Payload> = BTreeMap::new();
    for payload in revision.payloads.iter().filter(|one| is_for(one, machine)) {
        let Some(place) = &payload.place else { continue };
        let kept = best.entry(&place.path).or_insert(payload);
        if rank(payload).cmp(&rank(kept)) == Ordering::Less {
            *kept = payload;
        }
    }
    best.into_values().collect()
}

/// A path that belongs to another revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken<'a> {
    /// The path.
    pub path: &'a str,
    /// Whose it is.
    pub by: &'a RevisionId,
}

/// What may not be put in place since a path of it belongs to another revision that
/// stands and that it does not replace: otherwise each would put the other's away by
/// turns. A path belongs to whoever is there, else to the first that wants it.
pub(super) fn taken<'a>(
    candidates: &[Candidate<'a>],
    machine: &Inventory,
) -> HashMap<usize, Taken<'a>> {
    let mut by_path: BTreeMap<&'a str, Vec<(usize, &'a Revision)>> = BTreeMap::new();
    for (index, revision) in candidates.iter().map(|one| one.entry.revision).enumerate() {
        let files = if revision.is_placed() { files_for(revision, machine) } else { Vec::new() };
        for place in files.into_iter().filter_map(|one| one.place.as_ref()) {
            by_path.entry(&place.path).or_default().push((index, revision));
        }
    }
    // Versions of one update replace each other.
    by_path.retain(|_, all| all.iter().any(|(_, one)| one.id.update != all[0].1.id.update));
    if by_path.is_empty() {
        return HashMap::new();
    }
    let entries: Vec<Entry<'a>> = candidates.iter().map(|one| one.entry).collect();
    let replaced: HashSet<&RevisionId> = superseded(&entries).into_keys().collect();
    let mut taken = HashMap::new();
    for (path, all) in by_path {
        let stands = || all.iter().filter(|(_, one)| !replaced.contains(&one.id));
        let found = |state| stands().find(|(_, one)| verdict(one, machine).state == state);
        let is_there = |id: &RevisionId| machine.placed.get(path) == Some(id);
        let owner = stands()
            .find(|(_, one)| is_there(&one.id))
            .or_else(|| found(State::Installed))
            .or_else(|| found(State::Applicable));
        let Some((_, owner)) = owner else { continue };
        for (index, _) in all.iter().filter(|(_, one)| one.id.update != owner.id.update) {
            taken.entry(*index).or_insert(Taken { path, by: &owner.id });
        }
    }
    taken
}

/// What is not there with its own files and was replaced by what is there counts as
/// installed: something newer is there.
pub(super) fn settle(candidates: &[Candidate<'_>], choices: &mut [Choice<'_>]) {
    let needed: Vec<usize> = (0..choices.len())
        .filter(|index| {
            let one = &choices[*index];
            one.verdict.state == State::Applicable && is_by_its_files(one.revision)
        })
        .collect();
    if needed.is_empty() {
        return;
    }
    let there: Vec<usize> = (0..choices.len())
        .filter(|index| choices[*index].verdict.state == State::Installed)
        .collect();
    let together = needed.iter().chain(&there);
    let entries: Vec<Entry<'_>> = together.map(|index| candidates[*index].entry).collect();
    let ends = superseded(&entries);
    for index in needed {
        let old = candidates[index].entry;
        let replaces = |new: &&usize| {
            let new = candidates[**new].entry;
            let is_end = ends.get(&old.revision.id).is_some_and(|end| **end == new.revision.id);
            let is_newer = new.revision.id.update == old.revision.id.update
                && newer(new, old) == Ordering::Greater;
            is_end || is_newer || new.revision.supersedes(&old.revision.id)
        };
        if let Some(by) = there.iter().find(replaces) {
            let reason = format!("{}, which replaces it, is installed", choices[*by].revision.id);
            choices[index].verdict = Verdict::new(State::Installed, reason);
            choices[index].standing = Standing::Settled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::FoundFile;
    use super::super::tests::{machine, rule, stated};
    use super::super::{Removal, choose, payloads_for, removal};
    use super::*;
    use crate::digest::Sha256;
    use crate::revision::{Facts, Installer, InstallerKind, Place};

    fn sha256(content: u8) -> Sha256 {
        Sha256::from_bytes([content; 32])
    }

    /// A revision with files, each of a path, an architecture and a content.
    fn placed(id: &str, files: &[(&str, &str, u8)]) -> Revision {
        let installer = Installer { kind: InstallerKind::Files, ..Installer::default() };
        let mut one = stated(id, Facts { installer: Some(installer), ..Facts::default() });
        one.payloads = files
            .iter()
            .map(|(path, architecture, content)| Payload {
                package: "app".to_owned(),
                version: "1".to_owned(),
                architecture: (*architecture).to_owned(),
                component: String::new(),
                filename: "app.bin".to_owned(),
                length: 1,
                sha256: sha256(*content),
                control: String::new(),
                language: String::new(),
                place: Some(Box::new(Place::at(path))),
            })
            .collect();
        one
    }

    fn with_files(files: &[(&str, Option<u8>)]) -> Inventory {
        let found = |content: &Option<u8>| match content {
            None => FoundFile::Absent,
            Some(content) => FoundFile::Present { version: None, sha256: Some(sha256(*content)) },
        };
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), found(content)));
        Inventory { files: files.collect(), ..machine(&[]) }
    }

    fn choices(revisions: &[Revision], machine: &Inventory) -> Vec<(State, String)> {
        let candidates: Vec<Candidate<'_>> = revisions
            .iter()
            .enumerate()
            .map(|(index, revision)| Candidate {
                entry: Entry { revision, ordinal: u32::try_from(index).expect("few") },
                is_offered: true,
                is_bound: true,
            })
            .collect();
        let (choices, _) = choose(&candidates, machine, &|_| false);
        choices.iter().map(|one| (one.verdict.state, format!("{:?}", one.standing))).collect()
    }

    #[test]
    fn it_is_installed_where_all_its_files_for_the_machine_are_as_stated() {
        let files = [("/a", "all", 1), ("/b", "amd64", 2), ("/c", "arm64", 3)];
        let one = placed("v:s/app@1", &files);
        let state = |files: &[(&str, Option<u8>)]| verdict(&one, &with_files(files)).state;
        assert_eq!(state(&[("/a", Some(1)), ("/b", Some(2))]), State::Installed);
        assert_eq!(state(&[("/a", Some(1)), ("/b", Some(9))]), State::Applicable);
        assert_eq!(state(&[("/a", None), ("/b", Some(2))]), State::Applicable);
        assert_eq!(state(&[("/a", Some(1))]), State::Unknown, "nobody looked");
        let asked: Vec<String> = rules(&one).iter().map(ToString::to_string).collect();
        assert!(asked.len() == 3 && asked[0].starts_with("file /a sha256 0101"), "{asked:?}");

        // What its vendor says goes before, and whom it is for before that.
        let mut with_rule = one.clone();
        let detection = |installed: Option<&str>| {
            let applies = Some(rule("product till"));
            Some(Detection { applies, installed: installed.map(rule) })
        };
        with_rule.facts.detection = detection(Some("deb app"));
        assert_eq!(rules(&with_rule).len(), 2);
        let mut till = machine(&[("app", "1")]);
        till.products = vec!["till".to_owned()];
        assert_eq!(verdict(&with_rule, &till).state, State::Installed);
        with_rule.facts.detection = detection(None);
        assert_eq!(verdict(&with_rule, &till).state, State::Unknown);
        till.products = vec!["desk".to_owned()];
        assert_eq!(verdict(&with_rule, &till).state, State::NotApplicable);
    }

    #[test]
    fn of_two_for_one_path_a_machine_gets_that_of_its_first_architecture() {
        let one = placed("v:s/app@1", &[("/a", "all", 1), ("/a", "amd64", 2), ("/a", "i386", 3)]);
        let mut both = with_files(&[]);
        let got = |machine: &Inventory| {
            let files = payloads_for(&one, machine);
            assert_eq!(files.len(), 1);
            files[0].sha256
        };
        assert_eq!(got(&both), sha256(2));
        both.architectures = vec!["i386".to_owned(), "amd64".to_owned()];
        assert_eq!(got(&both), sha256(3));
        both.architectures = vec!["s390x".to_owned()];
        assert_eq!(got(&both), sha256(1));
    }

    #[test]
    fn what_was_replaced_by_what_is_there_counts_as_installed() {
        let [old, new] = [("v:s/app@1", 1), ("v:s/app@2", 2)]
            .map(|(id, content)| placed(id, &[("/a", "all", content)]));
        let found = |content| choices(&[old.clone(), new.clone()], &with_files(&[("/a", content)]));
        let settled = (State::Installed, "Settled".to_owned());
        assert_eq!(found(Some(2)), [settled.clone(), settled.clone()]);
        let chosen = (State::Applicable, "Chosen".to_owned());
        let by = "Superseded(v:s/app@2)".to_owned();
        assert_eq!(found(None), [(State::Applicable, by), chosen.clone()]);
        assert_eq!(found(Some(1)), [settled.clone(), chosen]);
        // By what its vendor states it is the same.
        let mut other = placed("v:s/other@1", &[("/a", "all", 3)]);
        other.facts.supersedes = vec!["v:s/app".parse().expect("a name")];
        assert_eq!(
            choices(&[old, other], &with_files(&[("/a", Some(3))])),
            [settled.clone(), settled]
        );
    }

    #[test]
    fn a_path_that_two_want_belongs_to_one_of_them_for_good() {
        let [a, b] = [("v:s/a@1", 1), ("v:s/b@1", 2)]
            .map(|(id, content)| placed(id, &[("/x", "all", content)]));
        let all = [a.clone(), b.clone()];
        let taken = |by: &RevisionId| format!("Taken(Taken {{ path: \"/x\", by: {by} }})");
        let found = choices(&all, &with_files(&[("/x", None)]));
        assert_eq!([&found[0].1, &found[1].1], ["Chosen", &taken(&a.id)]);
        let found = choices(&all, &with_files(&[("/x", Some(1))]));
        assert_eq!([&found[0].1, &found[1].1], ["Settled", &taken(&a.id)]);
        // Whoever is there keeps it, changed or not.
        let mut changed = with_files(&[("/x", Some(9))]);
        changed.placed.insert("/x".to_owned(), b.id.clone());
        let found = choices(&all, &changed);
        assert_eq!([&found[0].1, &found[1].1], [&taken(&b.id), "Chosen"]);
        // What is not approved any more keeps nothing.
        assert_eq!(choices(&all[..1], &changed)[0].1, "Chosen");
        let mut heir = a;
        heir.facts.supersedes = vec!["v:s/b".parse().expect("a name")];
        assert_eq!(choices(&[heir, b], &changed)[0].1, "Chosen");
    }

    #[test]
    fn what_the_agent_put_there_goes_and_nothing_else() {
        let one = placed("v:s/app@1", &[("/a", "all", 1)]);
        let mut machine = with_files(&[("/a", Some(1))]);
        let Removal::Impossible(why) = removal(&one, &machine) else { panic!("nobody put it") };
        assert!(why.contains("remove them by hand"), "{why}");
        machine.placed.insert("/a".to_owned(), one.id.clone());
        assert_eq!(removal(&one, &machine), Removal::Files);
        let mut changed = with_files(&[("/a", Some(9))]);
        assert!(matches!(removal(&one, &changed), Removal::Gone(_)));
        changed.placed.clone_from(&machine.placed);
        assert_eq!(removal(&one, &changed), Removal::Files, "it is to be looked at");
        changed.placed.insert("/a".to_owned(), "v:s/app@2".parse().expect("a revision"));
        assert!(matches!(removal(&one, &changed), Removal::Gone(_)));
    }
}
