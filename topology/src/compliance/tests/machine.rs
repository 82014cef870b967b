//! The machine and the console say the same of deadlines.

use proptest::option;
use proptest::sample::select;

use super::*;
use crate::assessment::{
    Assessment, Cvss, Exploited, Judgement, Risk, Score, Stated, Vulnerability, effective,
};
use crate::rollout::deadline::{Deadline, Policy, Times, Weight};

fn policies() -> impl Strategy<Value = Policy> {
    let time = || option::of((1..200i32).prop_map(|hours| HOUR * hours));
    let custom =
        (time(), time(), time(), time()).prop_map(|(critical, important, moderate, low)| {
            Policy::Custom(Times { critical, important, moderate, low })
        });
    prop_oneof![Just(Policy::Severity2004), Just(Policy::CisaBod2604), custom]
}

fn severities() -> impl Strategy<Value = Option<Severity>> {
    option::of(select(Severity::ALL))
}

const VECTORS: [&str; 4] = [
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N",
    "CVSS:3.1/AV:L/AC:H/PR:N/UI:N/S:U/C:H/I:H/A:H",
    "",
];

/// What a vendor states and what is known beside it; the assessment may not repeat the vendor,
/// as one does not that is a judgement alone.
fn assessed() -> impl Strategy<Value = (Option<Severity>, Option<Assessment>)> {
    let vulnerability = (0..=100u8, select(&VECTORS[..]), any::<bool>());
    let rest = (option::of(vulnerability), option::of(select(Risk::ALL)), any::<bool>());
    (severities(), option::of(rest)).prop_map(|(stated, rest)| {
        let assessment = rest.map(|(vulnerability, risk, repeats)| {
            let mut assessment = Assessment {
                vendor: stated.filter(|_| repeats),
                judgement: risk.map(|risk| Judgement {
                    risk,
                    exposure: None,
                    by: "ada".to_owned(),
                    at: at(0),
                    note: "because".to_owned(),
                }),
                ..Assessment::default()
            };
            if let Some((tenths, vector, exploited)) = vulnerability {
                let says = || "test".to_owned();
                let cvss = Cvss { score: Score::from_tenths(tenths), vector: vector.to_owned() };
                let added = jiff::civil::date(2026, 1, 2);
                let what = Exploited { added, due: None, ransomware: false };
                let vulnerability = Vulnerability {
                    cvss: Some(Stated { what: cvss, source: says() }),
                    exploited: exploited.then(|| Stated { what, source: says() }),
                    ..Vulnerability::default()
                };
                let cve = "CVE-2026-1234".parse().unwrap();
                assessment.vulnerabilities.insert(cve, vulnerability);
            }
            assessment
        });
        (stated, assessment)
    })
}

/// Who does without what from 0 on, until some hour.
fn exceptions() -> impl Strategy<Value = Vec<(exception::Scope, Subject, i64)>> {
    let scope = select(vec![
        exception::Scope::Machine(name("pc")),
        exception::Scope::Machine(name("other")),
        exception::Scope::Group("servers".parse().unwrap()),
        exception::Scope::Site("emea/fr".parse().unwrap()),
    ]);
    let subject = select(vec![
        Subject::All,
        Subject::Update(revision(1).update.clone()),
        Subject::Revision(revision(3)),
    ]);
    vec((scope, subject, 1..400i64), 0..3)
}

proptest! {
    #[test]
    fn a_machine_is_due_when_the_console_says_so(
        policies in vec(policies(), 3),
        removals in vec((any::<bool>(), any::<bool>(), 0..100i64), 3),
        assessed in vec(assessed(), 3),
        exceptions in exceptions(),
        exposed in any::<bool>(),
        site in select(vec!["emea/fr", "apac/jp", "amer"]),
        hours in 0..400i64,
    ) {
        let mut world = World::new();
        let mut words = Vec::new();
        for (number, (policy, (is_removed, is_there, approved))) in (1..).zip(policies.into_iter().zip(removals)) {
            let plan = world.plans.rollouts.get_mut(&format!("r{number}").parse().unwrap()).unwrap();
            plan.deadline = policy;
            plan.action = if is_removed { Action::Remove } else { Action::Install };
            let key = (revision(number), "servers".parse().unwrap());
            world.approvals.entries.get_mut(&key).unwrap().at = at(approved);
            words.push((number, if is_there { found() } else { needed() }));
        }
        for (number, (scope, subject, until)) in exceptions.into_iter().enumerate() {
            let text = String::new;
            let (reason, workaround, owner) = (text(), text(), text());
            let (since, until) = (at(0), at(until));
            let one = Exception { scope, subject, reason, workaround, owner, since, until };
            world.plans.exceptions.insert(format!("e{number}").parse().unwrap(), one);
        }
        let of: BTreeMap<RevisionId, _> = (1..4).map(revision).zip(assessed).collect();
        let demands = |facts: &dyn Fn(&RevisionId) -> Option<Facts>, look: &mut dyn FnMut(&Demands<'_>)| {
            let offer = Offer::new(&world.approvals, &world.plans, &world.states, at(hours));
            look(&Demands::new(&world.groups, &world.plans, [offer], Box::new(facts), at(hours)));
        };
        // As the primary has it: with all that is assessed.
        let console = |id: &RevisionId| {
            let (stated, assessment) = of.get(id)?;
            let severity = effective(assessment.as_ref(), *stated);
            Some(Facts::of(assessment.as_ref(), severity, at(0)))
        };
        let mut told: BTreeMap<RevisionId, (Action, Deadline, bool)> = BTreeMap::new();
        let lacking = machine(site, hours, words.clone());
        let mut register = Register::default();
        register.follow_removal_of((1..4).map(revision).collect());
        register.put(&name("pc"), &lacking, Told { exposed, ..Told::default() });
        demands(&console, &mut |demands| {
            let mut survey = Survey::new(&register, demands, survey::STALE_AFTER);
            survey.one(&name("pc"), |judged| {
                let need = |one: &Need<'_>| (one.revision.clone(), (one.action, one.due, one.is_past));
                told.extend(judged.needs.iter().map(need));
            });
        });
        // As the machine has it: with what is signed of that.
        let weights: BTreeMap<RevisionId, Weight> = of
            .iter()
            .filter_map(|(id, (_, assessment))| Some((id.clone(), Weight::of(assessment.as_ref()?))))
            .filter(|(_, weight)| !weight.is_plain())
            .collect();
        let own = |id: &RevisionId| {
            let weight = weights.get(id).copied().unwrap_or_default();
            Some(Facts::weighed(weight, of.get(id)?.0, at(0)))
        };
        let mut found = BTreeMap::new();
        demands(&own, &mut |demands| {
            for (number, word) in &words {
                let id = revision(*number);
                // What it has not done yet.
                let action = if word.is_there() { Action::Remove } else { Action::Install };
                let due = demands.due(&id, &place(site), &name("pc"), exposed);
                let due = due.filter(|(asked, _)| *asked == action);
                found.extend(due.map(|(_, due)| (id, (action, due, due.is_past(at(hours))))));
            }
        });
        prop_assert_eq!(found, told);
    }
}
