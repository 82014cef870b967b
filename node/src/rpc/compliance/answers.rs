//! Verdicts, as the primary finds them: counted, listed, and of one machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::compliance::census::{self, Census};
use patchmesh_topology::compliance::survey::Survey;
use patchmesh_topology::compliance::{Demands, Judged, Need, Register, Verdict};
use patchmesh_topology::name::{MachineName, Site};
use patchmesh_topology::node::Stage;
use patchmesh_topology::offer::Offer;
use patchmesh_topology::report::UNREADABLE;
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::deadline::Deadline;
use patchmesh_topology::tally::Place;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::Asked;
use crate::generation::Generation;
use crate::reports::ledger::{Ledger, Refusal};
use crate::rpc::machines::{refused, story};
use crate::rpc::status::{field, internal};

/// Rows of a summary at most.
const MAX_ROWS: usize = 20_000;

/// What the primary answers from: everything as it is at one moment.
pub(super) struct Desk {
    pub(super) generation: Arc<Generation>,
    pub(super) ledger: Ledger,
    pub(super) register: Register,
    pub(super) now: Timestamp,
    stale_after: SignedDuration,
    /// The question's turn ends with it.
    _turn: OwnedSemaphorePermit,
}

/// Which machines of a scope are listed.
pub(super) struct Wanted {
    verdicts: Vec<Verdict>,
    reboot_needed: bool,
    looping: bool,
    limit: usize,
}

impl Wanted {
    fn is(&self, judged: &Judged<'_>) -> bool {
        (self.verdicts.is_empty() || self.verdicts.contains(&judged.verdict))
            && (!self.reboot_needed || judged.told.reboot_needed)
            && (!self.looping || judged.needs.iter().any(|need| need.is_looping))
    }
}

/// What a request wants listed.
pub(super) fn wanted(request: &wire::ListVerdictsRequest) -> Result<Wanted, Status> {
    let verdicts: Result<Vec<Verdict>, _> =
        request.verdicts.iter().map(|verdict| verdict.parse()).collect();
    Ok(Wanted {
        verdicts: verdicts.map_err(|error| field("verdicts", &error))?,
        reboot_needed: request.reboot_needed,
        looping: request.looping,
        limit: match request.limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        },
    })
}

/// What each stage offers.
fn offers(generation: &Generation, now: Timestamp) -> impl Iterator<Item = Offer<'_>> {
    Stage::ALL.into_iter().filter_map(move |stage| generation.offer(stage, now))
}

impl Desk {
    /// Takes what the ledger knows at this moment.
    pub(super) async fn open(
        generation: Arc<Generation>,
        ledger: Ledger,
        stale_after: SignedDuration,
        turn: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let removed = offers(&generation, Timestamp::now()).flat_map(Offer::removed);
        let register = ledger.register_of(removed.cloned().collect()).await;
        let register = register.map_err(|error| internal(&error))?;
        let now = Timestamp::now();
        Ok(Self { generation, ledger, register, now, stale_after, _turn: turn })
    }

    /// Judges machines by what is asked at this moment.
    pub(super) fn survey<T>(&self, look: impl FnOnce(&mut Survey<'_>) -> T) -> T {
        let generation = &self.generation;
        let facts = |id: &RevisionId| generation.deadline_facts(id, self.severity(id));
        let (groups, plans) = (&generation.mesh.groups, &generation.rollouts);
        let offers = offers(generation, self.now);
        let demands = Demands::new(groups, plans, offers, Box::new(facts), self.now);
        look(&mut Survey::new(&self.register, &demands, self.stale_after))
    }

    /// How bad it is not to have an approved revision.
    pub(super) fn severity(&self, id: &RevisionId) -> Option<Severity> {
        let revision = self.generation.revisions.get(id)?;
        self.generation.severity(revision)
    }

    pub(super) fn summarize_compliance(
        &self,
        asked: &Asked,
        request: &wire::SummarizeComplianceRequest,
    ) -> Result<wire::SummarizeComplianceResponse, Status> {
        let depth = usize::try_from(request.depth.max(1)).unwrap_or(usize::MAX);
        let (total, rows) = self.survey(|survey| {
            let places = census::by_place(survey, asked.scope());
            let total: Census = places.values().copied().sum();
            (total, self.rows(survey, asked, &places, request.by(), depth))
        });
        let rows = rows.ok_or_else(|| field("by", "is missing"))?;
        let is_cut = rows.len() > MAX_ROWS;
        Ok(wire::SummarizeComplianceResponse {
            rows: rows.into_iter().take(MAX_ROWS).collect(),
            total: Some(row(String::new(), &total)),
            now: Some(timestamp_to_wire(self.now)),
            is_cut,
        })
    }

    /// Nothing where it is not said by what.
    fn rows(
        &self,
        survey: &mut Survey<'_>,
        asked: &Asked,
        places: &BTreeMap<Place, Census>,
        by: wire::ReportKey,
        depth: usize,
    ) -> Option<Vec<wire::ComplianceRow>> {
        let keyed = |key: &dyn Fn(&Place) -> String| {
            let mut rows: BTreeMap<String, Census> = BTreeMap::new();
            for (place, census) in places {
                *rows.entry(key(place)).or_default() += *census;
            }
            rows.into_iter().map(|(key, census)| row(key, &census)).collect()
        };
        Some(match by {
            wire::ReportKey::Unspecified => return None,
            wire::ReportKey::Geography => {
                keyed(&|place| census::above(&place.site, depth).to_string())
            }
            wire::ReportKey::Site => keyed(&|place| place.site.to_string()),
            wire::ReportKey::Group => keyed(&|place| place.group.to_string()),
            wire::ReportKey::Owner => keyed(&|place| {
                let group = self.generation.mesh.group(&place.group);
                group.map(|group| group.owner.clone()).unwrap_or_default()
            }),
            wire::ReportKey::Severity => {
                let worst_first = census::by_severity(survey, asked.scope()).into_iter().rev();
                worst_first.map(|(severity, census)| row(word(severity), &census)).collect()
            }
            wire::ReportKey::Update => self.by_revision(survey, asked, true),
            wire::ReportKey::Revision => self.by_revision(survey, asked, false),
        })
    }

    fn by_revision(
        &self,
        survey: &mut Survey<'_>,
        asked: &Asked,
        newest_only: bool,
    ) -> Vec<wire::ComplianceRow> {
        let (scope, demands) = (asked.scope(), survey.demands());
        let severity = |id: &RevisionId| self.severity(id);
        let mut rows =
            self.ledger.read(|tallies| census::has_revisions(demands, tallies, scope, severity));
        census::lack_revisions(survey, scope, &mut rows);
        if newest_only {
            let ordinal = |id: &RevisionId| {
                self.generation.catalogue.get(id).map_or(0, |entry| entry.ordinal)
            };
            rows = census::newest(rows, ordinal);
        }
        let unseen = |(revision, (severity, census)): (RevisionId, (Option<Severity>, Census))| {
            wire::ComplianceRow {
                severity: word(severity),
                seen_day: None,
                seen_week: None,
                ..row(revision.to_string(), &census)
            }
        };
        rows.into_iter().map(unseen).collect()
    }

    /// Passes the wanted machines on by name, until `pass` says that nobody listens.
    pub(super) fn tell(
        &self,
        asked: &Asked,
        wanted: &Wanted,
        mut pass: impl FnMut(wire::MachineVerdict) -> bool,
    ) {
        self.survey(|survey| {
            let mut left = wanted.limit;
            survey.each(asked.scope(), |judged| {
                if left > 0 && wanted.is(&judged) {
                    left = if pass(verdict(&judged)) { left - 1 } else { 0 };
                }
            });
        });
    }

    pub(super) fn judge_machine(
        &self,
        asked: &Asked,
        request: &wire::JudgeMachineRequest,
    ) -> Result<wire::JudgeMachineResponse, Status> {
        let name: MachineName = request.name.parse().map_err(|error| field("name", &error))?;
        let story = story(self.ledger.store(), &name).map_err(|error| internal(&error))?;
        let is_there = |story: &wire::GetMachineResponse| {
            let site = story.machine.as_ref().and_then(|row| row.site.parse::<Site>().ok());
            asked.sites.as_ref().is_none_or(|sites| site.is_some_and(|site| sites.contains(&site)))
        };
        let story = story.filter(is_there);
        let story = story.ok_or_else(|| refused(&Refusal::NoMachine(name.clone())))?;
        let mut verdict = self.survey(|survey| survey.one(&name, |judged| verdict(&judged)));
        // In its own words, which are kept on the disk alone.
        let is_why = |fact: &&wire::MachineFact| fact.name == UNREADABLE && !fact.value.is_empty();
        let why = story.facts.iter().find(is_why);
        if let (Some(found), Some(why)) = (&mut verdict, why)
            && !found.reason.is_empty()
        {
            found.reason = format!("{}: {}", found.reason, why.value);
        }
        // One that was shut out has none.
        Ok(wire::JudgeMachineResponse { verdict, story: Some(story) })
    }
}

/// The word of a severity; empty for none.
pub(super) fn word(severity: Option<Severity>) -> String {
    severity.map(|severity| severity.as_str().to_owned()).unwrap_or_default()
}

fn row(key: String, census: &Census) -> wire::ComplianceRow {
    wire::ComplianceRow {
        key,
        severity: String::new(),
        machines: census.machines,
        seen_day: Some(census.seen_day),
        seen_week: Some(census.seen_week),
        compliant: census.compliant,
        grace: census.grace,
        overdue: census.overdue,
        unknown: census.unknown,
        withheld: census.withheld,
    }
}

fn verdict(judged: &Judged<'_>) -> wire::MachineVerdict {
    wire::MachineVerdict {
        name: judged.name.to_string(),
        group: judged.place.group.to_string(),
        site: judged.place.site.to_string(),
        seen_at: judged.seen.map(timestamp_to_wire),
        verdict: judged.verdict.as_str().to_owned(),
        address: judged.told.address.map(|address| address.to_string()).unwrap_or_default(),
        exposed: judged.told.exposed,
        reboot_needed: judged.told.reboot_needed,
        needs: judged.needs.iter().map(need).collect(),
        reason: judged.why_unknown().unwrap_or_default(),
    }
}

fn need(need: &Need<'_>) -> wire::MachineNeed {
    let due_at = match need.due {
        Deadline::By(at) => Some(timestamp_to_wire(at)),
        Deadline::NextUpgrade | Deadline::None => None,
    };
    wire::MachineNeed {
        revision: need.revision.to_string(),
        severity: word(need.severity),
        due_at,
        open: need.is_open,
        past: need.is_past,
        action: need.action.as_str().to_owned(),
        standing: need.standing.as_str().to_owned(),
        code: need.code,
        looping: need.is_looping,
        said_at: Timestamp::from_second(need.at).ok().map(timestamp_to_wire),
        reason: need.to_string(),
    }
}
