//! What planner, explanation and offer say, as lines.

use std::error::Error;

use jiff::Timestamp;
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::offer::{Offered, Why};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::explain::Explanation;
use patchmesh_topology::rollout::plan::{Effect, Transition};

/// `spring/pilot opened`.
pub(crate) fn effect(effect: &Effect) -> String {
    let what = match &effect.what {
        Transition::Opened => "opened".to_owned(),
        Transition::Passed => "passed".to_owned(),
        Transition::Skipped => "was passed over".to_owned(),
        Transition::Stopped(kind, breach) => format!("{kind} itself: {breach}"),
        Transition::Resumed => "goes on".to_owned(),
        Transition::LetIn(sites) => {
            let sites: Vec<String> = sites.iter().map(ToString::to_string).collect();
            format!("let in {}", sites.join(", "))
        }
    };
    match &effect.wave {
        Some(wave) => format!("{}/{wave} {what}", effect.rollout),
        None => format!("{} {what}", effect.rollout),
    }
}

/// A headline, and every wave with what would have to happen next.
pub(crate) fn explanation(explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![explanation.headline.clone()];
    for wave in &explanation.waves {
        let counts = wave.counts;
        lines.push(format!(
            "  {}: {} ({} machines, {} reached, {} installed, {} failed)",
            wave.name,
            wave.status,
            counts.machines,
            counts.reached,
            counts.installed,
            counts.failed
        ));
        lines.extend(wave.next.iter().map(|next| format!("    {next}")));
    }
    lines
}

/// What a machine may do with a revision, and when.
pub(crate) fn offered(
    revision: &RevisionId,
    offered: &Offered,
    zone: &Zone,
    now: Timestamp,
) -> String {
    let when = match offered.when {
        None => "at no time in two weeks".to_owned(),
        Some(at) if at == now => "now".to_owned(),
        Some(at) => format!("at {at}"),
    };
    let wall = offered.when.map(|at| zone.wall(at).strftime(" (%a %H:%M there)").to_string());
    let frozen = offered.frozen.as_ref().map(|name| format!(", after freeze {name}"));
    format!(
        "{revision}: {} {when}{}{}; wave {} of {}, open since {}",
        offered.action,
        wall.unwrap_or_default(),
        frozen.unwrap_or_default(),
        offered.wave,
        offered.rollout,
        offered.since
    )
}

/// Why a machine may do nothing, with every cause.
pub(crate) fn refused(revision: &RevisionId, why: &Why) -> String {
    let mut said = format!("{revision}: {why}");
    let mut cause = why.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}
