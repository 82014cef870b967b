//! Rules: keeping them, and what they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::approval::{Request, Step, batch};
use patchmesh_topology::name::RuleName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::promotion::Lacking;
use patchmesh_topology::revision::{Revision, RevisionId};
use patchmesh_topology::rollout::Rollout;
use patchmesh_topology::rule::{Outcome, Policy, Rejection, Rule, State, evaluate};
use patchmesh_topology::supersedence::{Entry, superseded};
use tonic::{Code, Status};

use crate::generation::{Generation, load, read_revision};
use crate::primary::draft::Draft;
use crate::primary::pending;
use crate::rpc::admin::decisions::decide_holding;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::lab::lacking;
use crate::rpc::status::{Refusal, field, published};
use crate::store::Store;

/// How the decisions of rules are commented.
const COMMENT: &str = "by rule";

pub(super) fn list(node: &Context) -> wire::ListRulesResponse {
    let policy = node.generation().policy.clone();
    wire::ListRulesResponse { rules: policy.rules.values().map(Into::into).collect() }
}

pub(super) async fn add(
    node: &Context,
    by: String,
    request: wire::AddRuleRequest,
) -> Result<wire::AddRuleResponse, Status> {
    let rule = request.rule.ok_or_else(|| field("rule", "is missing"))?;
    let rule = convert::rule(rule).map_err(|error| field("rule", &error))?;
    let generation = change(node, move |draft| {
        draft.policy.add(Rule { by, at: draft.now, ..rule }, &draft.mesh)
    })
    .await?;
    Ok(wire::AddRuleResponse { generation })
}

pub(super) async fn remove(
    node: &Context,
    request: &wire::RemoveRuleRequest,
) -> Result<wire::RemoveRuleResponse, Status> {
    let name: RuleName = request.name.parse().map_err(|error| field("name", &error))?;
    let generation = change(node, move |draft| draft.policy.remove(&name)).await?;
    Ok(wire::RemoveRuleResponse { generation })
}

pub(super) async fn enable(
    node: &Context,
    request: &wire::EnableRuleRequest,
) -> Result<wire::EnableRuleResponse, Status> {
    let name: RuleName = request.name.parse().map_err(|error| field("name", &error))?;
    let enabled = request.enabled;
    let generation = change(node, move |draft| draft.policy.enable(&name, enabled)).await?;
    Ok(wire::EnableRuleResponse { generation })
}

async fn change(
    node: &Context,
    change: impl FnOnce(&Draft) -> Result<Policy, Rejection> + Send + 'static,
) -> Result<u64, Status> {
    let ((), generation) = node
        .primary()?
        .publisher
        .publish(move |draft: &mut Draft| {
            let policy = change(draft)?;
            if *draft.policy != policy {
                draft.policy = Arc::new(policy);
            }
            Ok::<_, Rejection>(())
        })
        .await
        .map_err(published)?;
    Ok(generation.number)
}

pub(super) async fn run(
    node: &Context,
    request: &wire::RunRulesRequest,
) -> Result<wire::RunRulesResponse, Status> {
    node.primary()?;
    let generation = node.generation();
    let rules: Vec<Rule> = match request.name.as_str() {
        "" => generation.policy.rules.values().filter(|rule| rule.enabled).cloned().collect(),
        name => {
            let name: RuleName = name.parse().map_err(|error| field("name", &error))?;
            let rule = generation.policy.rules.get(&name).cloned();
            vec![rule.ok_or_else(|| Status::not_found(Rejection::Unknown(name).to_string()))?]
        }
    };
    let store = node.store.clone();
    let found = blocking(move || outcomes(&generation, &store, rules, Timestamp::now())).await?;
    let generation = node.generation();
    let production = found.iter().filter(|(rule, _)| rule.stage == Stage::Production);
    let due = production.flat_map(|(_, outcome)| outcome.due.values().flatten());
    let held = lacking(node, &generation, due);
    let outcomes = found.iter().map(|(rule, outcome)| to_wire(rule, outcome, &held)).collect();
    let decided = match request.dry_run {
        true => None,
        false => apply(node, found).await?,
    };
    Ok(wire::RunRulesResponse { outcomes, decided })
}

fn to_wire(rule: &Rule, outcome: &Outcome, held: &Lacking) -> wire::RuleOutcome {
    let is_held = rule.stage == Stage::Production;
    let lacks =
        |revision: &RevisionId| held.get(revision).filter(|_| is_held).into_iter().flatten();
    let due = outcome.due.iter().flat_map(|(groups, revisions)| {
        revisions.iter().map(|revision| wire::RuleMatch {
            revision: revision.to_string(),
            groups: groups.iter().map(ToString::to_string).collect(),
            until: 0,
            lacks: lacks(revision).map(ToString::to_string).collect(),
        })
    });
    let waiting = outcome.waiting.iter().map(|(revision, waiting)| wire::RuleMatch {
        revision: revision.to_string(),
        groups: waiting.groups.iter().map(ToString::to_string).collect(),
        until: waiting.until.as_second(),
        lacks: Vec::new(),
    });
    wire::RuleOutcome {
        rule: rule.name.to_string(),
        due: due.collect(),
        waiting: waiting.collect(),
    }
}

/// What each rule comes to. Blocks.
pub(super) fn outcomes(
    generation: &Generation,
    store: &Store,
    rules: Vec<Rule>,
    now: Timestamp,
) -> Result<Vec<(Rule, Outcome)>, load::Error> {
    rules
        .into_iter()
        .map(|rule| {
            let outcome = outcome(generation, store, &rule, now)?;
            Ok((rule, outcome))
        })
        .collect()
}

fn outcome(
    generation: &Generation,
    store: &Store,
    rule: &Rule,
    now: Timestamp,
) -> Result<Outcome, load::Error> {
    let set = |stage: Stage| generation.approvals(stage).map(|approvals| approvals.set.as_ref());
    let Some(approvals) = set(rule.stage) else { return Ok(Outcome::default()) };
    let before = rule.stage.before().and_then(set);
    let state = State { mesh: &generation.mesh, approvals, before, now };
    // Names and decisions first, so that only what is in question is opened.
    let named = generation.catalogue.iter().filter(|(id, _)| rule.may_fit(id));
    let mut outcome = evaluate(rule, state, named.map(|(id, entry)| (id, entry.entered_at)));
    let asked: BTreeSet<&RevisionId> =
        outcome.due.values().flatten().chain(outcome.waiting.keys()).collect();
    let mut fitting: BTreeMap<RevisionId, Arc<Revision>> = BTreeMap::new();
    for id in asked {
        if let Some(revision) = read_revision(generation, store, id)?
            && rule.fits(&revision, generation.severity(&revision))
        {
            fitting.insert(id.clone(), revision);
        }
    }
    // What something newer replaces is not approved any more.
    let approved = approvals.approved();
    let others = approved.iter().filter_map(|id| generation.revisions.get(*id));
    let mut all: BTreeMap<&RevisionId, &Revision> =
        others.map(|one| (&one.id, one.as_ref())).collect();
    all.extend(fitting.iter().map(|(id, one)| (id, one.as_ref())));
    let entries: Vec<Entry<'_>> = all
        .into_iter()
        .map(|(id, revision)| {
            let ordinal = generation.catalogue.get(id).map_or(0, |one| one.ordinal);
            Entry { revision, ordinal }
        })
        .collect();
    let replaced: BTreeSet<RevisionId> = superseded(&entries).into_keys().cloned().collect();
    let stays = |id: &RevisionId| fitting.contains_key(id) && !replaced.contains(id);
    outcome.waiting.retain(|id, _| stays(id));
    for revisions in outcome.due.values_mut() {
        revisions.retain(|id| stays(id));
    }
    outcome.due.retain(|_, revisions| !revisions.is_empty());
    Ok(outcome)
}

/// Decides what is due, stage by stage. What was decided meanwhile stands, and
/// what waits for people's signatures is not proposed again.
pub(super) async fn apply(
    node: &Context,
    found: Vec<(Rule, Outcome)>,
) -> Result<Option<wire::DecideResponse>, Status> {
    let primary = node.primary()?;
    let mut answer: Option<wire::DecideResponse> = None;
    for stage in Stage::ALL {
        let due: Vec<(Rule, Outcome)> = found
            .iter()
            .filter(|(rule, outcome)| rule.stage == stage && !outcome.due.is_empty())
            .cloned()
            .collect();
        if due.is_empty() {
            continue;
        }
        let store = node.store.clone();
        let waiting = blocking(move || pending::proposed(&store, stage)).await?;
        let decided = decide_holding(primary, move |draft| {
            let set = draft.approvals(stage);
            let all = due.iter().flat_map(|(_, outcome)| outcome.due.values().flatten());
            let held = match stage {
                Stage::Production => draft.lacking(all),
                Stage::Validation => Lacking::new(),
            };
            let mut steps = Vec::new();
            for (rule, outcome) in due {
                for (groups, revisions) in outcome.due {
                    let is_free = |id: &&RevisionId| {
                        groups.iter().all(|group| {
                            let key = ((*id).clone(), group.clone());
                            !set.entries.contains_key(&key) && !waiting.contains(&key)
                        }) && draft.catalogue.contains_key(*id)
                            && !held.contains_key(*id)
                    };
                    let revisions = revisions.iter().filter(is_free).cloned().collect();
                    steps.push(Step::Approve(Request {
                        revisions,
                        groups: groups.clone(),
                        by: rule.by.clone(),
                        at: draft.now,
                        comment: format!("{COMMENT} {}", rule.name),
                        rule: rule.mark(),
                    }));
                }
            }
            let before = stage.before().map(|before| draft.approvals(before));
            let catalogue = draft.catalogue.clone();
            let is_known = |revision: &RevisionId| catalogue.contains_key(revision);
            let rollout = Rollout::default_for(stage);
            let change =
                batch(&set, before.as_deref(), &draft.mesh, is_known, &rollout.name, &steps)?;
            draft.plan(rollout);
            Ok((vec![change], held))
        })
        .await?;
        answer = Some(match answer {
            None => decided,
            Some(earlier) => join(earlier, decided),
        });
    }
    Ok(answer)
}

/// Two decisions, one after the other, as one answer.
fn join(a: wire::DecideResponse, b: wire::DecideResponse) -> wire::DecideResponse {
    let mut fetching: BTreeSet<String> = a.fetching.into_iter().collect();
    fetching.extend(b.fetching);
    let mut pending = a.pending;
    pending.extend(b.pending);
    let mut approval_sets = a.approval_sets;
    approval_sets.extend(b.approval_sets);
    let mut held = a.held;
    held.extend(b.held);
    wire::DecideResponse {
        held,
        held_total: a.held_total + b.held_total,
        approval_sets,
        pending,
        changed: a.changed + b.changed,
        fetching: fetching.into_iter().collect(),
        generation: b.generation,
    }
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Taken(_) => Code::AlreadyExists,
            Self::Unknown(_) | Self::UnknownGroup(_) => Code::NotFound,
            Self::Delay | Self::Glob | Self::NoCondition(_) => Code::InvalidArgument,
            Self::OtherStage { .. } | Self::TooMany => Code::FailedPrecondition,
        }
    }
}
