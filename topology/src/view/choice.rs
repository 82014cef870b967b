//! Which of a group's views a node serves to its machines.
//!
//! The primary's online key signs views, so a node does not take its word for
//! what is in them: a view is served only where every file of it belongs to a
//! revision that approvals, plans and states open there, by the node's own
//! check. Whoever holds that key can serve less through views, never more.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::FullView;
use super::set::SetId;
use crate::digest::Sha256;
use crate::revision::{Revision, RevisionId};

/// How far clocks may differ. A view dated later than that is for a coming set.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// What a node may serve to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The set that is open, without what is held back here.
    pub set: SetId,
    files: HashSet<Sha256>,
}

impl Allowed {
    /// What may be served where `open` is open and `held` is held back, by the
    /// brake of a site for one. `lookup` gives the revision behind a name; one
    /// that is not here is not served.
    pub fn new<'r>(
        open: &[&RevisionId],
        held: &HashSet<RevisionId>,
        lookup: impl Fn(&RevisionId) -> Option<&'r Revision>,
    ) -> Self {
        let free = || open.iter().copied().filter(|id| !held.contains(*id));
        let mut files: HashSet<Sha256> = free().filter_map(&lookup).flat_map(files_of).collect();
        // A file of something held back is held back, whatever else has it.
        for sha256 in held.iter().filter_map(&lookup).flat_map(files_of) {
            files.remove(&sha256);
        }
        Self { set: SetId::of(free()), files }
    }

    /// Whether nothing is in a view but what may be served.
    #[must_use]
    pub fn allows(&self, full: &FullView) -> bool {
        full.files().all(|(_, file)| self.files.contains(&file.sha256))
    }
}

fn files_of(revision: &Revision) -> impl Iterator<Item = Sha256> + '_ {
    revision.payloads.iter().map(|payload| payload.sha256)
}

/// How a view fits a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is the view of what is open there.
    Own,
    /// It was made before views had sets.
    Unstated,
    /// There is no view of what is open there: it has less.
    Less,
    /// The view of what is open there has something that is not: it has less.
    Refused,
}

/// The view to serve, if there is one that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'v> {
    /// The set that it is of; [`SetId::UNSTATED`] also for what was served before.
    pub set: SetId,
    /// The view.
    pub full: &'v FullView,
    /// How it fits.
    pub fit: Fit,
}

/// Chooses among a group's `views`: that of what is open, or else the newest
/// that has nothing but that; of equally new ones the one with the most files.
/// `earlier` are views that were served before, `is_allowed` the node's own check
/// ([`Allowed::allows`], which is asked no more than once of each view).
#[must_use]
pub fn choose<'v>(
    wanted: SetId,
    views: &[(SetId, &'v FullView)],
    earlier: &[&'v FullView],
    now: Timestamp,
    is_allowed: impl Fn(&FullView) -> bool,
) -> Option<Choice<'v>> {
    let own = views.iter().find(|(set, _)| *set == wanted);
    if let Some((set, full)) = own
        && is_allowed(full)
    {
        return Some(Choice { set: *set, full, fit: Fit::Own });
    }
    let others = views.iter().filter(|(set, _)| *set != wanted).copied();
    let is_known = |one: &&&FullView| views.iter().any(|(_, full)| full == *one);
    let earlier = earlier.iter().filter(|one| !is_known(one));
    let mut others: Vec<(SetId, &FullView)> =
        others.chain(earlier.map(|full| (SetId::UNSTATED, *full))).collect();
    others.retain(|(_, full)| full.view.signed_at.duration_since(now) <= CLOCKS);
    let size = |full: &FullView| full.pools.settled.len() + full.pools.opening.len();
    others.sort_by_key(|(_, full)| std::cmp::Reverse((full.view.signed_at, size(full))));
    let (set, full) = others.into_iter().find(|(_, full)| is_allowed(full))?;
    let is_old = views.iter().any(|(known, one)| *known == SetId::UNSTATED && *one == full);
    let fit = match own {
        Some(_) => Fit::Refused,
        None if is_old => Fit::Unstated,
        None => Fit::Less,
    };
    Some(Choice { set, full, fit })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::digest::Digest;
    use crate::revision::{DocumentRef, Facts, Payload};
    use crate::view::{Pool, PoolFile, Pools, View};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn file(number: u8) -> Sha256 {
        Sha256::from_bytes([number; 32])
    }

    fn id(number: u8) -> RevisionId {
        format!("s:a/p{number}@1").parse().expect("a revision")
    }

    /// A revision with files of its own, or of others.
    fn revision(number: u8, files: &[u8]) -> Revision {
        let payload = |number: &u8| Payload {
            package: "p".to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            component: String::new(),
            filename: "p.deb".to_owned(),
            length: 1,
            sha256: file(*number),
            control: String::new(),
            language: String::new(),
            place: None,
        };
        Revision {
            id: id(number),
            title: String::new(),
            description: String::new(),
            architectures: Vec::new(),
            payloads: files.iter().map(payload).collect(),
            facts: Facts::default(),
        }
    }

    fn view(signed_at: i64, files: &[u8]) -> FullView {
        let nothing = DocumentRef { digest: Digest::of(b""), length: 0 };
        let pool =
            |number: &u8| (format!("pool/{number}"), PoolFile { sha256: file(*number), length: 1 });
        let view = View {
            signed_at: at(signed_at),
            files: BTreeMap::new(),
            pools: Pools { settled: nothing, opening: nothing },
            withheld: BTreeMap::new(),
        };
        let opening: Pool = files.iter().map(pool).collect();
        let pools = Pools { settled: Arc::default(), opening: Arc::new(opening) };
        FullView { view: Arc::new(view), pools }
    }

    fn allowed(open: &[u8], held: &[u8]) -> Allowed {
        let known: Vec<Revision> = (0..9).map(|number| revision(number, &[number])).collect();
        let open: Vec<RevisionId> = open.iter().map(|number| id(*number)).collect();
        let held = held.iter().map(|number| id(*number)).collect();
        let open: Vec<&RevisionId> = open.iter().collect();
        Allowed::new(&open, &held, |id| known.iter().find(|one| one.id == *id))
    }

    fn set(open: &[u8]) -> SetId {
        allowed(open, &[]).set
    }

    /// The files of the view chosen, and how it fits.
    fn chosen(
        may: &Allowed,
        views: &[(SetId, FullView)],
        last: Option<&FullView>,
    ) -> Option<(Vec<u8>, Fit)> {
        let earlier: Vec<&FullView> = last.into_iter().collect();
        let views: Vec<_> = views.iter().map(|(set, full)| (*set, full)).collect();
        let choice = choose(may.set, &views, &earlier, at(100), |full| may.allows(full))?;
        let files = choice.full.files().map(|(_, file)| file.sha256.as_bytes()[0]).collect();
        Some((files, choice.fit))
    }

    #[test]
    fn a_site_is_served_its_own_set() {
        let views = [(set(&[1]), view(50, &[1])), (set(&[1, 2]), view(40, &[1, 2]))];
        let own = |open: &[u8]| chosen(&allowed(open, &[]), &views, None);
        assert_eq!(own(&[1]), Some((vec![1], Fit::Own)));
        assert_eq!(own(&[1, 2]), Some((vec![1, 2], Fit::Own)));
    }

    #[test]
    fn without_one_it_is_served_less_and_never_more() {
        let views = [
            (set(&[1]), view(40, &[1])),
            (set(&[1, 2]), view(60, &[1, 2])),
            (set(&[4]), view(60, &[4])),
            (set(&[1, 3]), view(10_000, &[1, 3])),
        ];
        let own = |open: &[u8], last| chosen(&allowed(open, &[]), &views, last);
        assert_eq!(own(&[1, 3, 5], None), Some((vec![1], Fit::Less)), "what is to come is not");
        assert_eq!(own(&[1, 2, 4, 5], None), Some((vec![1, 2], Fit::Less)), "the larger");
        assert_eq!(own(&[5], None), None);
        // What was served until now goes on, unless it is older or too much.
        let last = view(50, &[1, 5]);
        assert_eq!(own(&[1, 3, 5], Some(&last)), Some((vec![1, 5], Fit::Less)));
        assert_eq!(own(&[1, 3, 6], Some(&last)), Some((vec![1], Fit::Less)));
        assert_eq!(own(&[1, 2, 5], Some(&last)), Some((vec![1, 2], Fit::Less)));
    }

    #[test]
    fn a_name_opens_nothing() {
        // The online key names a set and puts more into its view.
        let views = [(set(&[1]), view(60, &[1, 2])), (set(&[]), view(50, &[]))];
        assert_eq!(chosen(&allowed(&[1], &[]), &views, None), Some((vec![], Fit::Refused)));
        assert_eq!(chosen(&allowed(&[1], &[]), &views[..1], None), None);
        // A view from before there were sets is looked at in the same way.
        let old = [(SetId::UNSTATED, view(60, &[1]))];
        assert_eq!(chosen(&allowed(&[1, 2], &[]), &old, None), Some((vec![1], Fit::Unstated)));
        assert_eq!(chosen(&allowed(&[2], &[]), &old, None), None);
    }

    #[test]
    fn what_is_held_back_is_in_no_view_that_is_served() {
        let views = [(set(&[1]), view(50, &[1])), (set(&[1, 2]), view(60, &[1, 2]))];
        let held = allowed(&[1, 2], &[2]);
        assert_eq!(chosen(&held, &views, None), Some((vec![1], Fit::Own)));
        // Held back together with what has the same file.
        let known = [revision(1, &[1, 7]), revision(2, &[7])];
        let open = [id(1), id(2)];
        let open: Vec<&RevisionId> = open.iter().collect();
        let lookup = |id: &RevisionId| known.iter().find(|one| one.id == *id);
        let may = Allowed::new(&open, &HashSet::from([id(2)]), lookup);
        assert!(may.allows(&view(1, &[1])) && !may.allows(&view(1, &[1, 7])));
    }
}
