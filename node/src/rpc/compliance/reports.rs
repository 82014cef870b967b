//! What failed, how long it took, who is vulnerable, and who does without.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::assessment::CveId;
use patchmesh_topology::compliance::survey::Scope;
use patchmesh_topology::name::MachineName;
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::Action;
use patchmesh_topology::rollout::exception::{self, Exception};
use patchmesh_topology::tally::{Place, Standing, Tallies};
use tonic::Status;

use super::Asked;
use super::answers::{Desk, word};
use crate::rpc::status::field;

/// Kinds of failures told at most.
const MAX_FAILURES: usize = 1000;
/// Machines named of each.
const MAX_NAMED: usize = 100;
/// Vulnerable machines named.
const MAX_VULNERABLE: usize = 1000;
/// How fresh a sample is counted by.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What failed, with which code, and whether it was tried again and again without effect.
type Kind = (RevisionId, Action, i64, bool);

/// Machines on which something failed in one way.
#[derive(Default)]
struct Failing {
    machines: u64,
    /// The first by name.
    names: BTreeSet<MachineName>,
    last: i64,
}

impl Failing {
    fn add(&mut self, name: &MachineName, at: i64) {
        self.machines += 1;
        self.last = self.last.max(at);
        self.names.insert(name.clone());
        if self.names.len() > MAX_NAMED {
            self.names.pop_last();
        }
    }
}

impl Desk {
    pub(super) fn list_failures(
        &self,
        asked: &Asked,
        _: &wire::ListFailuresRequest,
    ) -> Result<wire::ListFailuresResponse, Status> {
        let mut kinds: BTreeMap<Kind, Failing> = BTreeMap::new();
        let (mut failing, mut machines) = (0, 0);
        self.survey(|survey| {
            survey.each(asked.scope(), |judged| {
                machines += 1;
                let failed = judged.needs.iter().filter(|need| need.standing == Standing::Failed);
                let before = failing;
                for need in failed {
                    failing = before + 1;
                    let key = (need.revision.clone(), need.action, need.code, need.is_looping);
                    kinds.entry(key).or_default().add(judged.name, need.at);
                }
            });
        });
        let mut rows: Vec<_> = kinds.into_iter().collect();
        rows.sort_by_key(|(_, failing)| std::cmp::Reverse(failing.machines));
        let is_cut = rows.len() > MAX_FAILURES;
        let row =
            |((revision, action, code, looping), failing): (Kind, Failing)| wire::FailureRow {
                revision: revision.to_string(),
                action: action.as_str().to_owned(),
                code,
                looping,
                machines: failing.machines,
                names: failing.names.iter().map(ToString::to_string).collect(),
                last_at: Timestamp::from_second(failing.last).ok().map(timestamp_to_wire),
            };
        let rows = rows.into_iter().take(MAX_FAILURES).map(row).collect();
        Ok(wire::ListFailuresResponse { rows, failing, machines, is_cut })
    }

    pub(super) fn summarize_patch_times(
        &self,
        asked: &Asked,
        _: &wire::SummarizePatchTimesRequest,
    ) -> Result<wire::SummarizePatchTimesResponse, Status> {
        #[derive(Default)]
        struct Sum {
            revisions: u64,
            installations: u64,
            seconds: i128,
        }
        let scope = asked.scope();
        let mut sums: BTreeMap<Option<Severity>, Sum> = BTreeMap::new();
        self.ledger.read(|tallies| {
            for revision in tallies.revisions() {
                let Some(entry) = self.generation.catalogue.get(revision) else { continue };
                let patched = tallies.patched(revision, |place| scope.contains(place));
                if patched.machines > 0 {
                    let sum = sums.entry(self.severity(revision)).or_default();
                    sum.revisions += 1;
                    sum.installations += patched.machines;
                    sum.seconds += patched.seconds_since(entry.entered_at);
                }
            }
        });
        let row = |(severity, sum): (Option<Severity>, Sum)| wire::PatchTimeRow {
            severity: word(severity),
            revisions: sum.revisions,
            installations: sum.installations,
            // Exact to far more than a second.
            #[allow(clippy::cast_precision_loss)]
            mean_seconds: sum.seconds as f64 / sum.installations as f64,
        };
        Ok(wire::SummarizePatchTimesResponse { rows: sums.into_iter().rev().map(row).collect() })
    }

    pub(super) fn find_vulnerable(
        &self,
        asked: &Asked,
        request: &wire::FindVulnerableRequest,
    ) -> Result<wire::FindVulnerableResponse, Status> {
        let cve: CveId = request.cve.parse().map_err(|error| field("cve", &error))?;
        let mends = |id: &&RevisionId| {
            let known = self.generation.assessments.get(id);
            known.is_some_and(|one| one.vulnerabilities.contains_key(&cve))
        };
        let revisions: BTreeSet<RevisionId> =
            self.generation.catalogue.keys().filter(mends).cloned().collect();
        if revisions.is_empty() {
            return Err(Status::not_found(format!(
                "no revision is known to mend {cve}; `patchmesh assess import` and `patchmesh assess feed` tell which do"
            )));
        }
        let scope = asked.scope();
        let mut rows = self.ledger.read(|tallies| self.sample(tallies, &revisions, scope));
        let mut names = BTreeSet::new();
        for (name, place) in self.register.lacking(&revisions, scope) {
            rows.entry(place.clone()).or_default().lacking += 1;
            names.insert(name.clone());
            if names.len() > MAX_VULNERABLE {
                names.pop_last();
            }
        }
        let mut total = wire::VulnerableRow::default();
        let rows: Vec<wire::VulnerableRow> = rows
            .into_iter()
            .map(|(place, row)| wire::VulnerableRow {
                site: place.site.to_string(),
                group: place.group.to_string(),
                ..row
            })
            .inspect(|row| {
                total.machines += row.machines;
                total.lacking += row.lacking;
                total.installed += row.installed;
                total.seen_week += row.seen_week;
            })
            .collect();
        let asked = self.survey(|survey| {
            let demands = survey.demands();
            let installs = |(_, action): (_, Action)| action == Action::Install;
            let is_asked = |one: &&RevisionId| demands.actions(one).any(installs);
            revisions.iter().filter(is_asked).map(ToString::to_string).collect()
        });
        Ok(wire::FindVulnerableResponse {
            revisions: revisions.iter().map(ToString::to_string).collect(),
            asked,
            rows,
            total: Some(total),
            names: names.iter().map(ToString::to_string).collect(),
        })
    }

    /// How many machines there are by place, and how many words say that one of the
    /// revisions is there.
    fn sample(
        &self,
        tallies: &Tallies,
        revisions: &BTreeSet<RevisionId>,
        scope: Scope<'_>,
    ) -> BTreeMap<Place, wire::VulnerableRow> {
        let since = self.now.checked_sub(WEEK).unwrap_or(Timestamp::MIN);
        let places = tallies.by_place(revisions, scope.area).into_iter();
        let row = |(place, count): (&Place, patchmesh_topology::tally::Count)| {
            let row = wire::VulnerableRow {
                machines: count.known,
                installed: count.installed,
                seen_week: tallies.seen_at_since(place, since),
                ..wire::VulnerableRow::default()
            };
            (place.clone(), row)
        };
        places.filter(|(place, _)| scope.contains(place)).map(row).collect()
    }

    pub(super) fn age_exceptions(
        &self,
        asked: &Asked,
        _: &wire::AgeExceptionsRequest,
    ) -> Result<wire::AgeExceptionsResponse, Status> {
        let mut exceptions: Vec<_> = self.generation.rollouts.exceptions.iter().collect();
        exceptions.sort_by_key(|(_, exception)| exception.since);
        let row = |(name, one): (&patchmesh_topology::name::ExceptionName, &Exception)| {
            let machines = self.concerned(asked, &one.scope);
            (machines > 0 || asked.is_everywhere()).then(|| wire::ExceptionRow {
                name: name.to_string(),
                who: one.scope.to_string(),
                what: one.subject.to_string(),
                owner: one.owner.clone(),
                reason: one.reason.clone(),
                workaround: one.workaround.clone(),
                since: Some(timestamp_to_wire(one.since)),
                until: Some(timestamp_to_wire(one.until)),
                machines,
            })
        };
        Ok(wire::AgeExceptionsResponse { rows: exceptions.into_iter().filter_map(row).collect() })
    }

    /// Machines of a scope that an exception is for.
    fn concerned(&self, asked: &Asked, scope: &exception::Scope) -> u64 {
        let within = asked.scope();
        if let exception::Scope::Machine(name) = scope {
            return u64::from(self.register.place(name).is_some_and(|one| within.contains(one)));
        }
        let is_meant = |place: &Place| match scope {
            exception::Scope::Site(site) => place.site.is_within(site),
            exception::Scope::Group(group) => place.group == *group,
            exception::Scope::Machine(_) => false,
        };
        self.ledger.read(|tallies| {
            let places = tallies.by_place([], within.area).into_iter();
            let meant = places.filter(|(place, _)| within.contains(place) && is_meant(place));
            meant.map(|(_, count)| count.known).sum()
        })
    }
}
