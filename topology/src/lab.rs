//! What the lab found: results of trying updates on platforms.
//!
//! A result is about a revision, or about a whole release (one snapshot of a
//! baseline), on one platform. Of several on a platform the latest counts. A
//! failure stays *open* until a later pass there, or until somebody resolves
//! it with a reason; a resolved failure is still no pass.
//!
//! Two things always hold: in whatever order results are entered, they stand as
//! their times say; and what is forgotten, so that histories stay bounded,
//! changes nothing of how a platform stands.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::approval::is_plain;
use crate::name::{BaselineName, PlatformName};
use crate::revision::RevisionId;
use crate::rollout::words;

/// The most results of a mesh.
pub const MAX_RESULTS: usize = 4096;

/// The most results on one platform about one thing; earlier ones are forgotten.
pub const MAX_HISTORY: usize = 8;

/// The longest note or reason, in characters.
pub const MAX_NOTE: usize = 500;

/// How a trial went; of one moment the later in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It works.
    Pass,
    /// It could not be tried.
    Blocked,
    /// It does harm, or does not do what it should.
    Fail,
}

words!(
    Outcome,
    "outcome",
    "pass, fail or blocked",
    Pass = "pass",
    Blocked = "blocked",
    Fail = "fail"
);

/// What was tried: `vendor:stable/app@2` or `baseline/bookworm@3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One revision.
    Revision(RevisionId),
    /// All of a release: a baseline's snapshot.
    Release(BaselineName, u64),
}

/// Why a text is no [`Subject`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither a revision, as `update list` shows them, nor a release such as baseline/bookworm@3"
)]
pub struct NoSubject(pub String);

/// Why a failure counts no more though nothing passed since.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resolution {
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// One trial, ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestResult {
    /// When it was recorded.
    pub at: Timestamp,
    /// How it went.
    pub outcome: Outcome,
    /// Who recorded it.
    pub by: String,
    /// What there is to say; never empty unless it passed.
    pub note: String,
    /// Why a failure counts no more.
    pub resolution: Option<Resolution>,
}

/// All results, by subject and platform, in order of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Results {
    entries: BTreeMap<Subject, BTreeMap<PlatformName, Vec<TestResult>>>,
}

/// A result, and what it is about.
pub type Found<'a> = (&'a Subject, &'a TestResult);

/// How a platform stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing<'a> {
    /// The latest result.
    pub last: Option<Found<'a>>,
    /// The latest failure, while it is open.
    pub open: Option<Found<'a>>,
}

/// Why a result is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Something went wrong, and nobody says what.
    #[error("outcome {0} needs a note that says what happened")]
    NoNote(Outcome),
    /// A note that is too long or would garble a terminal.
    #[error("the {0} has control characters or more than {MAX_NOTE} characters")]
    Note(&'static str),
    /// A failure is put aside without a reason.
    #[error("to resolve a failure needs a reason")]
    NoReason,
    /// There is no open failure.
    #[error(
        "{subject} has no open failure on {platform}; `patchmesh lab status {subject}` shows how it stands"
    )]
    NothingOpen {
        /// What was meant.
        subject: Subject,
        /// Where.
        platform: PlatformName,
    },
    /// More than a mesh can have.
    #[error(
        "the lab has {MAX_RESULTS} results already, all of them of what production has not decided on; promote or decline some of that first"
    )]
    TooMany,
}

impl Results {
    /// Takes one result. Where there is no room, the results of what `is_over`
    /// are forgotten, those first that ended earliest.
    ///
    /// # Errors
    /// See [`Rejection`]; nothing has changed then.
    pub fn add(
        &mut self,
        subject: Subject,
        platform: PlatformName,
        result: TestResult,
        is_over: impl Fn(&Subject) -> bool,
    ) -> Result<(), Rejection> {
        if result.note.trim().is_empty() && result.outcome != Outcome::Pass {
            return Err(Rejection::NoNote(result.outcome));
        }
        if !is_plain(&result.note, MAX_NOTE) {
            return Err(Rejection::Note("note"));
        }
        self.make_room(&subject, is_over)?;
        let history = self.entries.entry(subject).or_default().entry(platform).or_default();
        let place = history.partition_point(|one| *one <= result);
        history.insert(place, result);
        if history.len() > MAX_HISTORY {
            forget_one(history);
        }
        Ok(())
    }

    fn make_room(
        &mut self,
        wanted: &Subject,
        is_over: impl Fn(&Subject) -> bool,
    ) -> Result<(), Rejection> {
        while self.len() >= MAX_RESULTS {
            let over = self.entries.iter().filter(|(one, _)| *one != wanted && is_over(one));
            let end = |platforms: &BTreeMap<_, Vec<TestResult>>| {
                platforms.values().flatten().map(|one| one.at).max()
            };
            let first = over.min_by_key(|(_, platforms)| end(platforms));
            let first = first.map(|(subject, _)| subject.clone()).ok_or(Rejection::TooMany)?;
            self.entries.remove(&first);
        }
        Ok(())
    }

    /// Puts the open failures on a platform aside.
    ///
    /// # Errors
    /// There is none, or no reason.
    pub fn resolve(
        &mut self,
        subject: &Subject,
        platform: &PlatformName,
        resolution: &Resolution,
    ) -> Result<(), Rejection> {
        if resolution.reason.trim().is_empty() {
            return Err(Rejection::NoReason);
        }
        if !is_plain(&resolution.reason, MAX_NOTE) {
            return Err(Rejection::Note("reason"));
        }
        let nothing =
            || Rejection::NothingOpen { subject: subject.clone(), platform: platform.clone() };
        let platforms = self.entries.get_mut(subject).ok_or_else(nothing)?;
        let history = platforms.get_mut(platform).ok_or_else(nothing)?;
        let after_pass = after_pass(history);
        let mut open: Vec<_> =
            history[after_pass..].iter_mut().filter(|one| is_open(one)).collect();
        if open.is_empty() {
            return Err(nothing());
        }
        open.iter_mut().for_each(|one| one.resolution = Some(resolution.clone()));
        Ok(())
    }

    /// Everything known, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &PlatformName, &TestResult)> {
        self.entries.iter().flat_map(|(subject, platforms)| {
            platforms.iter().flat_map(move |(platform, history)| {
                history.iter().map(move |one| (subject, platform, one))
            })
        })
    }

    /// The platforms on which any of these was tried.
    pub fn platforms<'a>(
        &'a self,
        subjects: &'a [Subject],
    ) -> impl Iterator<Item = &'a PlatformName> {
        subjects.iter().filter_map(|subject| self.entries.get(subject)).flat_map(BTreeMap::keys)
    }

    /// How a platform stands with these together: what was found of a release was
    /// found of each of its revisions.
    #[must_use]
    pub fn standing(&self, subjects: &[Subject], platform: &PlatformName) -> Standing<'_> {
        let known = subjects.iter().filter_map(|subject| {
            let (subject, platforms) = self.entries.get_key_value(subject)?;
            Some(platforms.get(platform)?.iter().map(move |one| (subject, one)))
        });
        standing(known.flatten())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(Subject, PlatformName, TestResult)> for Results {
    fn from_iter<I: IntoIterator<Item = (Subject, PlatformName, TestResult)>>(all: I) -> Self {
        let mut entries: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for (subject, platform, result) in all {
            entries.entry(subject).or_default().entry(platform).or_default().push(result);
        }
        entries.values_mut().flat_map(BTreeMap::values_mut).for_each(|history| history.sort());
        Self { entries }
    }
}

const fn is_open(one: &TestResult) -> bool {
    matches!(one.outcome, Outcome::Fail) && one.resolution.is_none()
}

/// Where those begin, in order of time, that came after the last pass.
fn after_pass<T: Borrow<TestResult>>(all: &[T]) -> usize {
    let pass = all.iter().rposition(|one| one.borrow().outcome == Outcome::Pass);
    pass.map_or(0, |at| at + 1)
}

/// Where the latest open failure is among results in order of time.
fn open_at<T: Borrow<TestResult>>(all: &[T]) -> Option<usize> {
    let after_pass = after_pass(all);
    let open = all[after_pass..].iter().rposition(|one| is_open(one.borrow()));
    open.map(|at| after_pass + at)
}

/// How a platform stands by these results, in whatever order.
fn standing<'a>(results: impl IntoIterator<Item = Found<'a>>) -> Standing<'a> {
    let mut all: Vec<Found<'a>> = results.into_iter().collect();
    all.sort_by_key(|(_, result)| *result);
    let results: Vec<&TestResult> = all.iter().map(|(_, result)| *result).collect();
    Standing { last: all.last().copied(), open: open_at(&results).map(|at| all[at]) }
}

/// Forgets the earliest result that is not the open failure.
fn forget_one(history: &mut Vec<TestResult>) {
    let place = usize::from(open_at(history) == Some(0));
    if place < history.len() {
        history.remove(place);
    }
}

impl Subject {
    /// What results about a revision can be about, by the mark of its approval in
    /// validation: itself, and the release that it was approved with.
    #[must_use]
    pub fn all_of(revision: &RevisionId, mark: &str) -> Vec<Self> {
        let release = mark.parse().ok().filter(|one| matches!(one, Self::Release(..)));
        std::iter::once(Self::Revision(revision.clone())).chain(release).collect()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(revision) => write!(f, "{revision}"),
            Self::Release(name, version) => write!(f, "baseline/{name}@{version}"),
        }
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let release = text.strip_prefix("baseline/").and_then(|rest| rest.rsplit_once('@'));
        if let Some((name, version)) = release
            && let (Ok(name), Ok(version)) = (name.parse(), version.parse())
        {
            return Ok(Self::Release(name, version));
        }
        text.parse().map(Self::Revision).map_err(|_| NoSubject(text.to_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
