//! What is known of one machine from its own reports.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::Place;
use crate::revision::RevisionId;

/// A step of an update's way on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Whether it is needed: a success found it installed, what is pending found
    /// it needed.
    Detection,
    /// Its files were fetched.
    Download,
    /// It was installed.
    Installation,
    /// It was removed.
    Removal,
    /// The restart that it needs.
    Reboot,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Detection, Self::Download, Self::Installation, Self::Removal, Self::Reboot];

    /// The word used in commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Download => "download",
            Self::Installation => "installation",
            Self::Removal => "removal",
            Self::Reboot => "reboot",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It has not ended.
    Pending,
    /// It went well.
    Success,
    /// It failed.
    Failure,
    /// Somebody at the machine said no.
    Declined,
    /// It was broken off.
    Cancelled,
    /// It went well and takes effect with a restart.
    RebootRequired,
}

impl Outcome {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Success,
        Self::Failure,
        Self::Declined,
        Self::Cancelled,
        Self::RebootRequired,
    ];

    /// The word used in commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::RebootRequired => "reboot required",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a machine stands with a revision; what comes later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Removed.
    Removed,
    /// Installed; perhaps a restart is due.
    Installed,
    /// Declined or broken off by somebody at the machine.
    Declined,
    /// Needed or under way.
    Pending,
    /// The last step failed.
    Failed,
}

impl Standing {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Removed, Self::Installed, Self::Declined, Self::Pending, Self::Failed];

    /// The word used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Installed => "installed",
            Self::Declined => "declined",
            Self::Pending => "pending",
            Self::Failed => "failed",
        }
    }

    /// What a step that went so says.
    #[must_use]
    pub const fn of(phase: Phase, outcome: Outcome) -> Self {
        match (phase, outcome) {
            (_, Outcome::Failure) => Self::Failed,
            // It is installed, whenever the restart comes.
            (Phase::Reboot, _) => Self::Installed,
            (_, Outcome::Declined | Outcome::Cancelled) => Self::Declined,
            (_, Outcome::Pending) | (Phase::Download, _) => Self::Pending,
            (Phase::Removal, _) => Self::Removed,
            (Phase::Detection | Phase::Installation, _) => Self::Installed,
        }
    }
}

/// Where an event stands among all of its machine. A machine that lost its queue
/// begins another epoch, with numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// When its epoch began, by the machine's clock.
    pub began: Timestamp,
    /// The epoch, drawn at random: tells two of one moment apart.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: u64,
}

/// A machine's last word on a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// The event that said it.
    pub position: Position,
    /// The step that it was about.
    pub phase: Phase,
    /// What it said.
    pub standing: Standing,
    /// The installer's code; 0 where there is none.
    pub code: i64,
    /// Set where it was installed again and again without effect.
    pub is_looping: bool,
    /// When it happened, by the machine's clock.
    pub at: Timestamp,
}

impl Last {
    /// Whether it is there: installed, or still to be removed.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self.phase {
            Phase::Removal => self.standing != Standing::Removed,
            _ => self.standing == Standing::Installed,
        }
    }

    /// Whether the machine did something itself to have it installed, and did not
    /// only find it.
    #[must_use]
    pub fn is_patched(&self) -> bool {
        self.standing == Standing::Installed
            && matches!(self.phase, Phase::Installation | Phase::Reboot)
    }
}

/// What a report brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Where the machine is now.
    pub place: Option<Place>,
    /// When it spoke.
    pub seen: Option<Timestamp>,
    /// Its words, in whatever order.
    pub words: Vec<(RevisionId, Last)>,
}

/// What is known of one machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Where it counts.
    pub place: Place,
    /// When it last spoke, by its own clock.
    pub seen: Option<Timestamp>,
    words: BTreeMap<RevisionId, Last>,
}

impl Machine {
    /// A machine that has said nothing yet.
    #[must_use]
    pub const fn new(place: Place) -> Self {
        Self { place, seen: None, words: BTreeMap::new() }
    }

    /// Its last word on a revision.
    #[must_use]
    pub fn last(&self, revision: &RevisionId) -> Option<&Last> {
        self.words.get(revision)
    }

    /// Its last words, by revision.
    pub fn words(&self) -> impl ExactSizeIterator<Item = (&RevisionId, &Last)> {
        self.words.iter()
    }

    /// Where it stands with several revisions together: the worst of what it said,
    /// so that it is installed only when nothing else is to be said.
    pub fn standing<'a>(
        &self,
        revisions: impl IntoIterator<Item = &'a RevisionId>,
    ) -> Option<(Standing, Timestamp)> {
        let said = revisions.into_iter().filter_map(|revision| self.words.get(revision));
        said.map(|last| (last.standing, last.at))
            .reduce(|(worst, late), (standing, at)| (worst.max(standing), late.max(at)))
    }

    /// Takes one word, unless a later one on the revision is known; says whether
    /// it did.
    pub fn say(&mut self, revision: RevisionId, last: Last) -> bool {
        match self.words.get(&revision) {
            Some(old) if old.position >= last.position => false,
            _ => {
                self.words.insert(revision, last);
                true
            }
        }
    }

    /// Takes news without counting it; says which words are the last ones now.
    pub fn take(&mut self, news: News) -> Vec<bool> {
        self.place = news.place.unwrap_or_else(|| self.place.clone());
        self.seen = self.seen.max(news.seen);
        news.words.into_iter().map(|(revision, last)| self.say(revision, last)).collect()
    }
}
