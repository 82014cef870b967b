//! Asks vendors by plan, and again when that fails.
//!
//! One task owns this. When each source is due is decided by
//! [`patchmesh_topology::planned`]; how it went is kept in the store, so that a
//! restart changes nothing. After the last retry an alert `source/NAME` is
//! raised. It stays until a synchronisation of the source succeeds, whoever
//! began it; that also ends the waiting between retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::alert::Severity;
use patchmesh_topology::name::SourceName;
use patchmesh_topology::planned::{self, Course, Plan, Retries};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::records::{PLANS, PlanRecord, SYNCS};
use super::sources::{self, Sources};
use crate::alerts::Alerts;
use crate::log::in_one_line;
use crate::source::Progress;
use crate::store::{self, Store};

/// Begins the key of a source's alert.
const ALERT: &str = "source/";

/// The longest sleep at a stretch: hosts are suspended and clocks are set.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// How long a planned synchronisation stands back for one that somebody else
/// began, and after a failing store.
const STAND_BACK: SignedDuration = SignedDuration::from_secs(5);

/// Why a plan was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be used.
    #[error("the plan cannot be used")]
    Plan(#[from] planned::Error),
    /// No such source.
    #[error("there is no source {0}; `patchmesh source list` shows those there are")]
    Unknown(SourceName),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// What stands about a source's plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The plan.
    pub plan: Plan,
    /// When the source is asked next.
    pub due: Timestamp,
    /// Planned tries in a row that failed.
    pub failures: u32,
}

/// The plans; cheap to clone.
#[derive(Debug, Clone)]
pub struct Plans {
    store: Store,
    sources: Sources,
    alerts: Alerts,
    retries: Retries,
    changed: Arc<Notify>,
}

impl PlanRecord {
    fn plan(&self) -> Result<Plan, planned::Error> {
        if self.at.is_empty() {
            Plan::every(
                SignedDuration::try_from(Duration::from_secs(self.every_seconds))
                    .unwrap_or(SignedDuration::MAX),
            )
        } else {
            Plan::at(&self.at, &self.zone)
        }
    }

    fn course(&self) -> Course {
        let last = Timestamp::from_millisecond(self.last_millis).unwrap_or(Timestamp::UNIX_EPOCH);
        Course { last, failures: self.failures }
    }

    fn with(self, course: Course) -> Self {
        Self { last_millis: course.last.as_millisecond(), failures: course.failures, ..self }
    }
}

/// A planned synchronisation that ended; what it failed with.
type Tried = (SourceName, Option<sources::Error>);

impl Plans {
    /// Plans for these sources.
    #[must_use]
    pub fn new(store: Store, sources: Sources, alerts: Alerts, retries: Retries) -> Self {
        Self { store, sources, alerts, retries, changed: Arc::default() }
    }

    /// Plans a source anew; an empty record plans nothing.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Plan`]; nothing is changed then.
    pub async fn set(&self, name: &SourceName, record: PlanRecord) -> Result<(), Error> {
        let is_none = record.at.is_empty() && record.every_seconds == 0;
        if !is_none {
            record.plan()?;
        }
        let record = record.with(Course { last: Timestamp::now(), failures: 0 });
        let (sources, of) = (self.sources.clone(), name.clone());
        self.store
            .run(move |store| {
                if !sources.is_known(&of)? {
                    return Err(Error::Unknown(of));
                }
                let key = of.as_str();
                let written = if is_none {
                    store.delete(&PLANS, key)
                } else {
                    store.put(&PLANS, key, &record)
                };
                Ok(written?)
            })
            .await?;
        self.changed.notify_one();
        Ok(())
    }

    /// What stands about a source's plan; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub async fn standing(&self, name: &SourceName) -> Result<Option<Standing>, Error> {
        let (sources, of, retries) = (self.sources.clone(), name.clone(), self.retries);
        self.store
            .run(move |store| {
                if !sources.is_known(&of)? {
                    return Err(Error::Unknown(of));
                }
                let Some(record) = store.get(&PLANS, of.as_str())? else { return Ok(None) };
                let plan = record.plan()?;
                let course = record.course();
                let due = course.due(&plan, retries);
                Ok(Some(Standing { plan, due, failures: course.failures }))
            })
            .await
    }

    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut ended = self.sources.ended();
        let mut running: JoinSet<Tried> = JoinSet::new();
        let mut held: BTreeMap<SourceName, Timestamp> = BTreeMap::new();
        loop {
            let now = Timestamp::now();
            let next = match self.look(now).await {
                Ok(due) => self.start(due, now, &mut held, &mut running),
                Err(error) => {
                    tracing::error!(error = in_one_line(&error), "plans of sources cannot be read");
                    now.saturating_add(STAND_BACK).unwrap_or(now)
                }
            };
            let sleep = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                Ok(()) = ended.changed() => {}
                Some(Ok((name, problem))) = running.join_next() => {
                    let is_held = self.tried(&name, problem).await;
                    let until = Timestamp::now().saturating_add(STAND_BACK).unwrap_or(now);
                    held.remove(&name);
                    held.extend(is_held.then_some((name, until)));
                }
                () = tokio::time::sleep(sleep.min(MAX_SLEEP)) => {}
            }
        }
    }

    /// Every planned source with the time when it is due. Takes note of what
    /// succeeded without a plan.
    async fn look(&self, now: Timestamp) -> Result<BTreeMap<SourceName, Timestamp>, Error> {
        let retries = self.retries;
        let looked = self.store.run(move |store| {
            let mut due = BTreeMap::new();
            for (name, record) in store.scan(&PLANS)? {
                let (Ok(source), Ok(plan)) = (name.parse::<SourceName>(), record.plan()) else {
                    continue;
                };
                let synced = store.get(&SYNCS, &name)?.unwrap_or_default().succeeded_at;
                let synced = Timestamp::from_second(synced).unwrap_or(now);
                let mut course = record.course();
                if synced > course.last && synced <= now {
                    course = course.tried(true, synced);
                    store.put(&PLANS, &name, &record.with(course))?;
                }
                due.insert(source, (course.due(&plan, retries), course.is_alert(retries)));
            }
            Ok::<_, Error>(due)
        });
        let due = looked.await?;
        self.alerts.clear_others(ALERT, |name| {
            name.parse()
                .is_ok_and(|name: SourceName| due.get(&name).is_some_and(|(_, alert)| *alert))
        });
        Ok(due.into_iter().map(|(name, (at, _))| (name, at)).collect())
    }

    /// Begins what is due; when to look again.
    fn start(
        &self,
        due: BTreeMap<SourceName, Timestamp>,
        now: Timestamp,
        held: &mut BTreeMap<SourceName, Timestamp>,
        running: &mut JoinSet<Tried>,
    ) -> Timestamp {
        let mut next = Timestamp::MAX;
        for (name, at) in due {
            let at = held.get(&name).map_or(at, |until| at.max(*until));
            if at > now {
                next = next.min(at);
                continue;
            }
            // Held until it has ended.
            held.insert(name.clone(), Timestamp::MAX);
            let sources = self.sources.clone();
            running.spawn(async move {
                let problem = sources.sync(&name, &Progress::default()).await.err();
                (name, problem)
            });
        }
        next
    }

    /// Takes note of how a planned synchronisation went. Whether it never ran,
    /// since somebody else's did.
    async fn tried(&self, name: &SourceName, problem: Option<sources::Error>) -> bool {
        if matches!(problem, Some(sources::Error::Busy(_))) {
            return true;
        }
        let (of, retries, now) = (name.clone(), self.retries, Timestamp::now());
        let has_succeeded = problem.is_none();
        let noted = self.store.run(move |store| {
            let Some(record) = store.get(&PLANS, of.as_str())? else { return Ok(None) };
            let course = record.course().tried(has_succeeded, now);
            let due = record.plan().ok().map(|plan| course.due(&plan, retries));
            store.put(&PLANS, of.as_str(), &record.with(course))?;
            Ok::<_, Error>(due.map(|due| (course, due)))
        });
        match (noted.await, problem) {
            (Ok(Some((course, _))), Some(problem)) if course.is_alert(retries) => {
                let text = format!(
                    "{} planned synchronisations in a row failed, the last so: {}; put that right, then \
                     `patchmesh source sync {name}`, or wait for the next by plan",
                    course.failures,
                    in_one_line(&problem)
                );
                self.alerts.raise(&format!("{ALERT}{name}"), Severity::Critical, &text);
            }
            (Ok(Some((course, due))), Some(_)) => tracing::warn!(
                source = %name, failures = course.failures, %due,
                "a planned synchronisation failed and is tried again",
            ),
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::error!(error = in_one_line(&error), "a plan could not be kept");
                return true;
            }
        }
        false
    }
}
