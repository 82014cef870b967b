//! Seeing the company converge: every node's own word, again and again, until
//! all agree with the primary's or time is up.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::time::Instant;

use super::Error;
use super::company::{Company, Node};
use super::report::{MachineReport, NodeReport};
use crate::cli::answer::OwnWord;
use crate::cli::progress::Progress;

/// How long the company may take to agree.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a node may say nothing at all.
const SILENCE_LIMIT: Duration = Duration::from_secs(12);

/// How often everybody is asked.
const POLL: Duration = Duration::from_millis(150);

/// Waits until every node's word agrees with the primary's and every node
/// holds the content that it is to serve or to pass on.
pub(super) async fn converge(company: &mut Company, progress: &Progress) -> Result<(), Error> {
    let deadline = Instant::now() + LIMIT;
    let mut heard = vec![Instant::now(); company.nodes.len()];
    let bars: Vec<_> = company.nodes.iter().map(|node| progress.spinner(waiting(node))).collect();
    let outcome = loop {
        if let Err(error) = company.nodes.iter_mut().try_for_each(Node::check) {
            break Err(error);
        }
        let words = ask_all(company).await;
        show(company, &words, &bars);
        let Some((index, what)) = first_behind(company, &words) else { break Ok(()) };
        let now = Instant::now();
        for (heard, word) in heard.iter_mut().zip(&words) {
            if word.is_ok() {
                *heard = now;
            }
        }
        if let Some(silent) = heard.iter().position(|heard| now - *heard >= SILENCE_LIMIT) {
            let what = format!("has given no answer for {} s", SILENCE_LIMIT.as_secs());
            break Err(company.nodes[silent].fault(what));
        }
        if now >= deadline {
            let what = format!("did not converge within {} s: {what}", LIMIT.as_secs());
            break Err(company.nodes[index].fault(what));
        }
        tokio::time::sleep(POLL).await;
    };
    for bar in bars {
        bar.finish_and_clear();
    }
    outcome
}

type Word = Result<OwnWord, String>;

async fn ask_all(company: &Company) -> Vec<Word> {
    futures_util::future::join_all(company.nodes.iter().map(Node::own_word)).await
}

/// The first node that is not where the primary is, and how.
fn first_behind(company: &Company, words: &[Word]) -> Option<(usize, String)> {
    let primary = match words.first()? {
        Ok(word) => word,
        Err(why) => return Some((0, why.clone())),
    };
    let mut all = company.nodes.iter().zip(words).enumerate();
    all.find_map(|(index, (node, word))| match word {
        Err(why) => Some((index, why.clone())),
        Ok(word) => {
            difference(node, word, primary).or_else(|| lacking(word)).map(|what| (index, what))
        }
    })
}

/// How a node's word differs from the primary's.
fn difference(node: &Node, word: &OwnWord, primary: &OwnWord) -> Option<String> {
    if word.generation != primary.generation {
        return Some(format!(
            "it holds generation {}, the primary {}",
            word.generation, primary.generation
        ));
    }
    let lacks = node.stages().find(|stage| {
        primary.approval_sets.contains_key(stage.as_str())
            && !word.approval_sets.contains_key(stage.as_str())
    });
    if let Some(stage) = lacks {
        return Some(format!("it has no approval set for {stage}"));
    }
    word.approval_sets.iter().find_map(|(stage, set)| {
        (primary.approval_sets.get(stage) != Some(set))
            .then(|| format!("its approval set for {stage} is {}", set.short()))
    })
}

/// What a node still has to fetch.
fn lacking(word: &OwnWord) -> Option<String> {
    let (held, wanted) = (word.payloads.held, word.payloads.wanted);
    (held < wanted).then(|| format!("it holds {held} of {wanted} payloads"))
}

fn waiting(node: &Node) -> String {
    format!("{:<10} {:<16} …", node.name, node.site)
}

fn show(company: &Company, words: &[Word], bars: &[ProgressBar]) {
    let primary = words.first().and_then(|word| word.as_ref().ok());
    for ((node, word), bar) in company.nodes.iter().zip(words).zip(bars) {
        let (Ok(word), Some(primary)) = (word, primary) else {
            bar.set_message(waiting(node));
            continue;
        };
        let sets = word.approval_sets.iter().map(|(stage, set)| format!("{stage} {}", set.short()));
        let state = if difference(node, word, primary).is_none() { "converged" } else { "behind" };
        bar.set_message(format!(
            "{:<10} {:<16} generation {:<3} {}  content {}/{}  {state}",
            node.name,
            node.site,
            word.generation,
            sets.collect::<Vec<_>>().join("  "),
            word.payloads.held,
            word.payloads.wanted,
        ));
    }
}

/// The last word of every node, with what its machines got.
pub(super) async fn nodes(company: &mut Company, machines: &[MachineReport]) -> Vec<NodeReport> {
    let words = ask_all(company).await;
    let primary = words.first().and_then(|word| word.as_ref().ok()).cloned();
    let pairs = company.nodes.iter_mut().zip(words);
    pairs.map(|(node, word)| report(node, word, primary.as_ref(), machines)).collect()
}

fn report(
    node: &mut Node,
    word: Word,
    primary: Option<&OwnWord>,
    machines: &[MachineReport],
) -> NodeReport {
    let ended = node.check().err();
    let problem = match (&ended, &word, primary) {
        (Some(_), ..) => Some("its process has ended".to_owned()),
        _ if node.pid().is_none() => Some("was not started, or has ended".to_owned()),
        (_, Err(why), _) => Some(why.clone()),
        (_, Ok(_), None) => Some("the primary does not answer".to_owned()),
        (_, Ok(word), Some(primary)) => difference(node, word, primary)
            .or_else(|| node.group().and_then(|group| served(node.name, group, machines))),
    };
    let word = word.ok();
    NodeReport {
        name: node.name.to_owned(),
        role: node.role.as_str(),
        site: node.site.to_owned(),
        url: node.url.clone(),
        pid: node.pid().filter(|_| ended.is_none()),
        generation: word.as_ref().map(|word| word.generation),
        approval_set: word.map_or_else(BTreeMap::new, |word| word.approval_sets),
        converged: problem.is_none(),
        problem,
    }
}

/// Why no machine of the group really got its updates from the node.
fn served(node: &str, group: &str, machines: &[MachineReport]) -> Option<String> {
    let mut own = machines.iter().filter(|machine| machine.node == node && machine.group == group);
    match own.next() {
        None => Some("no machine has fetched anything from it".to_owned()),
        Some(machine) if !machine.ok => {
            Some(format!("machine {} could not fetch from it", machine.name))
        }
        Some(_) => None,
    }
}

/// The first node that did not converge, as an error.
pub(super) fn first_problem(reports: &[NodeReport], company: &Company) -> Option<Error> {
    let bad = reports.iter().find(|report| !report.converged)?;
    let node = company.nodes.iter().find(|node| node.name == bad.name)?;
    Some(node.fault(format!("did not converge: {}", bad.problem.as_deref().unwrap_or("unknown"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(node: &str, ok: bool) -> MachineReport {
        MachineReport {
            name: format!("{node}-desk"),
            group: "workstations".to_owned(),
            node: node.to_owned(),
            updates: Vec::new(),
            ok,
            problem: None,
        }
    }

    #[test]
    fn a_node_without_a_real_download_has_not_converged() {
        let machines = [machine("paris", true), machine("lyon", false)];
        assert_eq!(served("paris", "workstations", &machines), None);
        assert!(served("lyon", "workstations", &machines).is_some());
        assert!(served("osaka", "workstations", &machines).is_some());
        assert!(served("paris", "lab", &machines).is_some());
    }
}
