//! Status of clients of the predecessor: shown, and read from logs.

use std::collections::BTreeMap;

use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::legacy::book::Line;
use patchmesh_topology::legacy::{Activity, Outcome, Status as Said};
use tonic::Status;

use super::blocking;
use super::context::Context;
use super::status::field;

/// Statuses of an answer unless asked otherwise, and at most.
const SHOWN: (u32, u32) = (100, 1000);
/// Lines of one call.
const MAX_LINES: usize = 1000;

pub(super) fn list(
    node: &Context,
    request: &wire::ListLegacyStatusRequest,
) -> wire::ListLegacyStatusResponse {
    let limit = match request.limit {
        0 => SHOWN.0,
        limit => limit.min(SHOWN.1),
    };
    let (lines, counts) = node.legacy.kept();
    let kept = lines.len() as u64;
    // What is kept was read once already.
    let read = lines.into_iter().filter_map(|line| Some((Said::parse(&line.query).ok()?, line)));
    let asked = request.client.as_str();
    let fits = |(said, line): &(Said, Line)| {
        asked.is_empty() || said.ping == asked || line.address.to_string() == asked
    };
    let mut fitting: Vec<(Said, Line)> = read.filter(fits).collect();
    fitting.sort_by_key(|(_, line)| line.at);
    let mut outcomes = BTreeMap::<_, u64>::new();
    for (said, _) in &fitting {
        *outcomes.entry((said.activity, said.outcome)).or_default() += 1;
    }
    let count = |((activity, outcome), statuses): ((Activity, Outcome), u64)| wire::LegacyCount {
        activity: activity.to_string(),
        outcome: outcome.to_string(),
        statuses,
    };
    let total = fitting.len();
    let last = fitting.split_off(total.saturating_sub(limit as usize));
    wire::ListLegacyStatusResponse {
        statuses: last.into_iter().map(to_wire).collect(),
        counts: outcomes.into_iter().map(count).collect(),
        total: total as u64,
        kept,
        taken: counts.taken,
        dropped: counts.dropped,
        refused: counts.refused,
    }
}

fn to_wire((said, line): (Said, Line)) -> wire::LegacyStatus {
    wire::LegacyStatus {
        client: said.ping,
        address: line.address.to_string(),
        at: Some(timestamp_to_wire(line.at)),
        imported: line.imported,
        activity: said.activity.to_string(),
        outcome: said.outcome.to_string(),
        error: said.error,
        item: said.item,
        device: said.device,
        platform: said.platform,
        language: said.language,
        program: said.client,
        message: said.message,
        proxy: said.proxy,
    }
}

pub(super) async fn import(
    node: &Context,
    request: wire::ImportLegacyStatusRequest,
) -> Result<wire::ImportLegacyStatusResponse, Status> {
    if request.lines.len() > MAX_LINES {
        return Err(field("lines", &format!("at most {MAX_LINES} a call")));
    }
    let lines = request.lines.into_iter().enumerate().map(|(index, line)| read(index, line));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let legacy = node.legacy.clone();
    let imported = blocking(move || legacy.import(lines)).await?;
    Ok(wire::ImportLegacyStatusResponse {
        taken: imported.taken,
        known: imported.known,
        dropped: imported.dropped,
    })
}

fn read(index: usize, line: wire::LegacyLine) -> Result<Line, Status> {
    let name = |field: &str| format!("lines[{index}].{field}");
    let address = line.address.parse().map_err(|error| field(&name("address"), &error))?;
    let at = convert::time(line.at).map_err(|error| field(&name("at"), &error))?;
    Said::parse(&line.query).map_err(|error| field(&name("query"), &error))?;
    Ok(Line { address, at, query: line.query, imported: true })
}
