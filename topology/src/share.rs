//! Which source brings which part of a blob.
//!
//! Nodes beside each other, at one site below one parent, fetch a blob from that
//! parent about once together. Its pieces are cut into runs, and for each run
//! they agree without talking on one of them who fetches it from above
//! ([`ranking`]); the others ask that one. What always holds:
//!
//! - All who know the same nodes find the same owner of a run, and a node more
//!   or less moves only the runs that are its own.
//! - A node that another one relies on for a piece ([`Share::pin`]) gets it from
//!   above, so nobody waits in a circle. Where above has failed, only nodes that
//!   hold the whole blob are relied on.
//! - A run whose source failed, or is far slower than the next one would be, goes
//!   to the next of its ranking. It is asked for twice only then.
//! - Whoever holds the whole blob is asked before anybody fetches it again.

mod ranking;

pub use ranking::{MAX_BESIDE, beside, ranking};

use std::ops::Range;
use std::time::Duration;

use crate::digest::Digest;
use crate::name::NodeName;

/// Pieces of a run: few enough that a blob of some hundred MiB is spread evenly
/// over a site, enough that a run is worth a request.
pub const RUN: u64 = 4;

/// A source whose rest would last no longer than this keeps it.
const STEAL_AFTER: Duration = Duration::from_secs(10);

/// How much slower than the next one a source must be to lose what it has left.
/// Nodes that share one line upward differ by less.
const STEAL_FACTOR: f64 = 4.0;

/// Where pieces come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The node's parent.
    Above,
    /// The node of this number beside it.
    Beside(usize),
}

/// A node beside this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its name.
    pub name: NodeName,
    /// Whether it holds the whole blob. Those that don't fetch it too.
    pub holds: bool,
}

/// Pieces that belong together, and who brings them.
#[derive(Debug, Clone)]
struct Run {
    /// Its place in the blob, in runs.
    number: u64,
    /// Not come, in order.
    left: Vec<u64>,
    /// Come and not proven yet.
    unproven: Vec<u64>,
    /// Who is asked for it, best first.
    ranking: Vec<Source>,
    /// Who was asked.
    at: Option<Source>,
    /// Somebody beside relies on this node for it.
    pinned: bool,
}

/// How a source does.
#[derive(Debug, Clone, Default)]
struct Standing {
    holds: bool,
    gone: bool,
    /// Not to be asked before.
    later: Option<Duration>,
    /// When it was asked for what it is to bring now.
    asked: Option<Duration>,
    /// For how long it was busy before that.
    busy: Duration,
    /// Pieces that it brought.
    brought: u64,
}

/// The pieces of one blob that lack, shared among sources. Time is counted from
/// any moment that stays the same.
#[derive(Debug, Clone)]
pub struct Share {
    runs: Vec<Run>,
    above: Standing,
    beside: Vec<Standing>,
    /// Pieces in `left` or `unproven` of all runs.
    open: u64,
}

impl Share {
    /// Shares `missing` pieces of a blob between the node above and those beside
    /// the node `own`.
    #[must_use]
    pub fn new(
        blob: &Digest,
        own: &NodeName,
        has_above: bool,
        beside: &[Beside],
        missing: &[Range<u64>],
    ) -> Self {
        let ranking = |run| ranking(blob, own, beside, run);
        let (runs, open) = cut(missing, ranking);
        let standing = |one: &Beside| Standing { holds: one.holds, ..Standing::default() };
        Self {
            runs,
            above: Standing { gone: !has_above, ..Standing::default() },
            beside: beside.iter().map(standing).collect(),
            open,
        }
    }

    /// The same where there is nobody beside.
    #[must_use]
    pub fn alone(missing: &[Range<u64>]) -> Self {
        let (runs, open) = cut(missing, |_| vec![Source::Above]);
        Self { runs, above: Standing::default(), beside: Vec::new(), open }
    }

    /// What a source is to be asked for now, at most `most` ranges; nothing when
    /// it has to wait or there is no more for it.
    pub fn take(&mut self, source: Source, now: Duration, most: usize) -> Vec<Range<u64>> {
        if !self.can_be_asked(source, now) {
            return Vec::new();
        }
        let mine = |share: &Self, run: &Run| run.at.is_none() && share.choice(run) == Some(source);
        let mut taken: Vec<usize> = self.open_runs(mine);
        taken.truncate(most);
        if taken.is_empty() {
            taken = self.rest_of_a_slow_one(source, now);
            taken.truncate(most);
        }
        self.give(&taken, source, now, most)
    }

    /// What is asked from above for those beside who rely on it, whatever else
    /// is under way from there.
    pub fn take_pinned(&mut self, now: Duration, most: usize) -> Vec<Range<u64>> {
        if !self.can_be_asked(Source::Above, now) {
            return Vec::new();
        }
        let pinned = |_: &Self, run: &Run| run.pinned && run.at != Some(Source::Above);
        let taken = self.open_runs(pinned);
        self.give(&taken, Source::Above, now, most)
    }

    /// All that a source was asked for has come.
    pub fn rested(&mut self, source: Source, now: Duration) {
        if let Some(standing) = self.standing_mut(source)
            && let Some(asked) = standing.asked.take()
        {
            standing.busy += now.saturating_sub(asked);
        }
    }

    /// A piece has come whole. It counts once it is proven.
    pub fn came(&mut self, source: Source, piece: u64) {
        if let Some(standing) = self.standing_mut(source) {
            standing.brought += 1;
        }
        if let Some(run) = self.run_of(piece)
            && let Some(place) = run.left.iter().position(|one| *one == piece)
        {
            run.left.remove(place);
            run.unproven.push(piece);
        }
    }

    /// A piece that came is what it has to be. Says whether that was the last.
    pub fn proven(&mut self, piece: u64) -> bool {
        if let Some(run) = self.run_of(piece) {
            let before = run.left.len() + run.unproven.len();
            run.left.retain(|one| *one != piece);
            run.unproven.retain(|one| *one != piece);
            let after = run.left.len() + run.unproven.len();
            self.open -= (before - after) as u64;
        }
        self.is_done()
    }

    /// A piece that came is not what it has to be: somebody else is asked.
    pub fn refuted(&mut self, piece: u64) {
        if let Some(run) = self.run_of(piece)
            && let Some(place) = run.unproven.iter().position(|one| *one == piece)
        {
            run.unproven.remove(place);
            let place = run.left.partition_point(|one| *one < piece);
            run.left.insert(place, piece);
            run.at = None;
        }
    }

    /// A source does not know of the blob yet, and is asked again at `until`.
    pub fn later(&mut self, source: Source, until: Duration) {
        self.release(source);
        if let Some(standing) = self.standing_mut(source) {
            standing.later = Some(until);
        }
    }

    /// A source is not asked any more.
    pub fn gone(&mut self, source: Source) {
        self.release(source);
        if let Some(standing) = self.standing_mut(source) {
            standing.gone = true;
        }
    }

    /// Somebody beside relies on this node for a piece. Says whether it has to
    /// be asked for anew.
    pub fn pin(&mut self, piece: u64) -> bool {
        let Some(run) = self.run_of(piece) else { return false };
        let is_new = !run.pinned;
        run.pinned = true;
        is_new && run.at != Some(Source::Above)
    }

    /// Whether all pieces are proven.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Whether there is nothing more to wait for: all is done, or something that
    /// is left can't be had from anybody.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let is_stuck = |run: &Run| !run.left.is_empty() && self.choice(run).is_none();
        self.is_done() || self.runs.iter().any(is_stuck)
    }

    /// Whether a source brought pieces and no reason to drop it.
    #[must_use]
    pub fn is_proven(&self, source: Source) -> bool {
        self.standing(source).is_some_and(|standing| standing.brought > 0 && !standing.gone)
    }

    /// When a source that has nothing to do is to look again, unless something
    /// changes before.
    #[must_use]
    pub fn look_again(&self, source: Source, now: Duration) -> Option<Duration> {
        match self.standing(source)?.later.filter(|until| *until > now) {
            Some(until) => Some(until),
            // Somebody may turn out to be slow.
            None => self.has_others(source).then(|| now + STEAL_AFTER),
        }
    }

    fn has_others(&self, source: Source) -> bool {
        self.runs.iter().any(|run| !run.left.is_empty() && run.at.is_some_and(|at| at != source))
    }

    /// Who brings a run: the best of its ranking that can.
    fn choice(&self, run: &Run) -> Option<Source> {
        if run.pinned && !self.above.gone {
            return Some(Source::Above);
        }
        run.ranking.iter().copied().find(|source| self.can_bring(*source))
    }

    fn can_bring(&self, source: Source) -> bool {
        self.standing(source).is_some_and(|standing| {
            // Whoever does not hold it depends on what is above both.
            !standing.gone && (standing.holds || !self.above.gone)
        })
    }

    fn can_be_asked(&self, source: Source, now: Duration) -> bool {
        let rests =
            |standing: &Standing| standing.later.is_none_or(|until| until <= now) && !standing.gone;
        self.standing(source).is_some_and(rests)
    }

    /// Numbers of the runs that lack something and for which `is` holds.
    fn open_runs(&self, is: impl Fn(&Self, &Run) -> bool) -> Vec<usize> {
        let open = self.runs.iter().enumerate().filter(|(_, run)| !run.left.is_empty());
        open.filter(|(_, run)| is(self, run)).map(|(number, _)| number).collect()
    }

    fn give(
        &mut self,
        taken: &[usize],
        source: Source,
        now: Duration,
        most: usize,
    ) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in taken {
            let Some(run) = self.runs.get_mut(*number) else { continue };
            let mut more = ranges.clone();
            for piece in &run.left {
                match more.last_mut() {
                    Some(last) if last.end == *piece => last.end += 1,
                    _ => more.push(*piece..*piece + 1),
                }
            }
            if more.len() > most {
                break;
            }
            ranges = more;
            run.at = Some(source);
        }
        if !ranges.is_empty()
            && let Some(standing) = self.standing_mut(source)
        {
            standing.asked.get_or_insert(now);
        }
        ranges
    }

    /// The second half of what the slowest source has left, where this one comes
    /// next in its ranking and is far faster.
    fn rest_of_a_slow_one(&self, source: Source, now: Duration) -> Vec<usize> {
        let Some(own) = self.rate(source, now).filter(|rate| *rate > 0.0) else {
            return Vec::new();
        };
        let others = self.beside.iter().enumerate().map(|(number, _)| Source::Beside(number));
        let slowest = std::iter::once(Source::Above)
            .chain(others)
            .filter(|other| *other != source)
            .filter_map(|other| {
                let left = self.left_at(other);
                // One that has brought nothing brings its first piece now.
                let rate = self.rate(other, now)?;
                (left > 0).then(|| (other, left as f64 / rate, left as f64 / own))
            })
            .filter(|(_, theirs, ours)| {
                *theirs > STEAL_AFTER.as_secs_f64() && *theirs > STEAL_FACTOR * ours
            })
            .max_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
        let Some((slow, ..)) = slowest else { return Vec::new() };
        let is_next = |share: &Self, run: &Run| {
            let next = run.ranking.iter().find(|one| **one != slow && share.can_bring(**one));
            run.at == Some(slow) && !run.pinned && next == Some(&source)
        };
        let mut runs = self.open_runs(is_next);
        runs.split_off(runs.len() / 2)
    }

    /// Pieces a second that a source brings, or would if the next one came now.
    fn rate(&self, source: Source, now: Duration) -> Option<f64> {
        let standing = self.standing(source)?;
        let busy =
            standing.busy + standing.asked.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        if busy.is_zero() {
            return None;
        }
        let brought =
            if standing.asked.is_some() { standing.brought.max(1) } else { standing.brought };
        Some(brought as f64 / busy.as_secs_f64())
    }

    fn left_at(&self, source: Source) -> u64 {
        let theirs = self.runs.iter().filter(|run| run.at == Some(source));
        theirs.map(|run| run.left.len() as u64).sum()
    }

    /// What it was asked for and has not brought is free again.
    fn release(&mut self, source: Source) {
        for run in self.runs.iter_mut().filter(|run| run.at == Some(source)) {
            run.at = None;
        }
        if let Some(standing) = self.standing_mut(source) {
            standing.asked = None;
        }
    }

    fn run_of(&mut self, piece: u64) -> Option<&mut Run> {
        let first = |run: &Run| run.number;
        let place = self.runs.binary_search_by_key(&(piece / RUN), first).ok()?;
        self.runs.get_mut(place)
    }

    fn standing(&self, source: Source) -> Option<&Standing> {
        match source {
            Source::Above => Some(&self.above),
            Source::Beside(number) => self.beside.get(number),
        }
    }

    fn standing_mut(&mut self, source: Source) -> Option<&mut Standing> {
        match source {
            Source::Above => Some(&mut self.above),
            Source::Beside(number) => self.beside.get_mut(number),
        }
    }
}

/// Pieces that lack, cut into runs, and their number.
fn cut(missing: &[Range<u64>], ranking: impl Fn(u64) -> Vec<Source>) -> (Vec<Run>, u64) {
    let (mut runs, mut open): (Vec<Run>, u64) = (Vec::new(), 0);
    for piece in missing.iter().cloned().flatten() {
        let number = piece / RUN;
        open += 1;
        match runs.last_mut() {
            Some(run) if run.number == number => run.left.push(piece),
            _ => runs.push(Run {
                number,
                left: vec![piece],
                unproven: Vec::new(),
                ranking: ranking(number),
                at: None,
                pinned: false,
            }),
        }
    }
    (runs, open)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
mod tests;
