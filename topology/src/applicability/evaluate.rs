//! Asking a machine's facts whether a rule holds. What is not known makes the
//! answer unknown, unless the rest decides it alone.

use std::cmp::Ordering;

use super::NAMED;
use super::inventory::{Format, FoundFile, Inventory};
use super::rule::{Bound, FileTest, Rule, Test};
use crate::subscription::are_related;

/// Whether a rule holds, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Yes(String),
    /// It does not.
    No(String),
    /// Nobody can tell.
    Unknown(String),
}

impl Answer {
    fn of(holds: bool, reason: String) -> Self {
        if holds { Self::Yes(reason) } else { Self::No(reason) }
    }
}

/// Whether `rule` holds on the machine.
#[must_use]
pub fn ask(rule: &Rule, machine: &Inventory) -> Answer {
    match rule {
        Rule::All(rules) => all(rules.iter().map(|rule| ask(rule, machine))),
        // One holds unless all do not.
        Rule::Any(rules) => contrary(all(rules.iter().map(|rule| contrary(ask(rule, machine))))),
        Rule::Not(rule) => contrary(ask(rule, machine)),
        Rule::Test(test) => tested(test, machine),
    }
}

fn all(answers: impl Iterator<Item = Answer>) -> Answer {
    let (mut reasons, mut unknown) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Answer::No(reason) => return Answer::No(reason),
            Answer::Unknown(reason) => unknown = unknown.or(Some(reason)),
            Answer::Yes(reason) => reasons.push(reason),
        }
    }
    match unknown {
        Some(reason) => Answer::Unknown(reason),
        None => {
            reasons.truncate(NAMED);
            Answer::Yes(reasons.join("; "))
        }
    }
}

fn contrary(answer: Answer) -> Answer {
    match answer {
        Answer::Yes(reason) => Answer::No(reason),
        Answer::No(reason) => Answer::Yes(reason),
        unknown @ Answer::Unknown(_) => unknown,
    }
}

fn tested(test: &Test, machine: &Inventory) -> Answer {
    match test {
        Test::Os(name, bound) => os(name, bound.as_ref(), machine),
        Test::Architecture(name) => {
            listed("architecture", name, &machine.architectures, |one| one == name)
        }
        Test::Language(tag) => {
            listed("language", tag, &machine.languages, |one| are_related(one, tag))
        }
        Test::Product(name) => {
            listed("product", name, &machine.products, |one| one.eq_ignore_ascii_case(name))
        }
        Test::Service(name) => listed("service", name, &machine.services, |one| one == name),
        Test::Package(format, name, bound) => package(*format, name, bound.as_ref(), machine),
        Test::File(path, asked) => file(path, asked, machine),
        Test::Registry(key, value) => registry(key, value.as_ref(), machine),
        Test::Fact(name, text) => match (machine.facts.get(name), text) {
            (None, _) => Answer::No(format!("fact {name} is not stated")),
            (Some(found), None) => Answer::Yes(format!("fact {name} is {found}")),
            (Some(found), Some(text)) => {
                Answer::of(found == text, format!("fact {name} is {found}"))
            }
        },
    }
}

fn os(name: &str, bound: Option<&Bound>, machine: &Inventory) -> Answer {
    if machine.os.is_empty() {
        return Answer::Unknown("the machine's operating system is not known".to_owned());
    }
    let reason = format!("the system is {} {}", machine.os, machine.os_version);
    if !machine.os.eq_ignore_ascii_case(name) {
        return Answer::No(reason);
    }
    match bound {
        None => Answer::Yes(reason),
        Some(bound) => dotted("the system", &machine.os_version, bound),
    }
}

fn listed(kind: &str, wanted: &str, list: &[String], fits: impl Fn(&String) -> bool) -> Answer {
    if list.is_empty() {
        return Answer::Unknown(format!("the machine's {kind}s are not known"));
    }
    match list.iter().any(fits) {
        true => Answer::Yes(format!("{kind} {wanted} is there")),
        false => Answer::No(format!("{kind} {wanted} is not there")),
    }
}

/// A package holds when some instance of it does. One that is half installed
/// is not there.
fn package(format: Format, name: &str, bound: Option<&Bound>, machine: &Inventory) -> Answer {
    let mut reason = format!("{format} {name} is not there");
    for one in machine.instances(format, name) {
        if !one.fault.is_empty() {
            reason = format!("{name} {} is {}", one.version, one.fault);
            continue;
        }
        reason = format!("{name} {} is there", one.version);
        let fits =
            |bound: &Bound| bound.operator.allows(format.compare(&one.version, &bound.version));
        if bound.is_none_or(fits) {
            return Answer::Yes(reason);
        }
    }
    Answer::No(reason)
}

fn file(path: &str, asked: &FileTest, machine: &Inventory) -> Answer {
    let unknown = |why: &str| Answer::Unknown(format!("file {path}: {why}"));
    let (version, sha256) = match machine.files.get(path) {
        None => return unknown("nobody looked for it"),
        Some(FoundFile::Unreadable(why)) => return unknown(why),
        Some(FoundFile::Absent) => return Answer::No(format!("file {path} is not there")),
        Some(FoundFile::Present { version, sha256 }) => (version, sha256),
    };
    match asked {
        FileTest::Exists => Answer::Yes(format!("file {path} is there")),
        FileTest::Version(bound) => match version {
            None => unknown("it states no version"),
            Some(version) => dotted(&format!("file {path}"), version, bound),
        },
        FileTest::Content(expected) => match sha256 {
            None => unknown("its content was not read"),
            Some(found) if found == expected => {
                Answer::Yes(format!("file {path} has the content stated"))
            }
            Some(_) => Answer::No(format!("file {path} has another content than stated")),
        },
    }
}

fn registry(key: &str, value: Option<&(String, Option<Bound>)>, machine: &Inventory) -> Answer {
    let Some(registry) = &machine.registry else {
        return Answer::Unknown("this machine has no registry".to_owned());
    };
    let values = match registry.get(key) {
        None => return Answer::Unknown(format!("nobody looked for registry key {key}")),
        Some(None) => return Answer::No(format!("registry key {key} is not there")),
        Some(Some(values)) => values,
    };
    let Some((name, bound)) = value else {
        return Answer::Yes(format!("registry key {key} is there"));
    };
    match (values.get(name), bound) {
        (None, _) => Answer::No(format!("registry key {key} has no value {name}")),
        (Some(found), None) => Answer::Yes(format!("registry value {name} is {found}")),
        (Some(found), Some(bound)) if *found == bound.version => Answer::of(
            bound.operator.allows(Ordering::Equal),
            format!("registry value {name} is {found}"),
        ),
        (Some(found), Some(bound)) => dotted(&format!("registry value {name}"), found, bound),
    }
}

/// Compares numbers divided by dots; what is missing at the end counts as 0.
fn dotted(what: &str, found: &str, bound: &Bound) -> Answer {
    let reason = format!("{what} has version {found}");
    if found == bound.version {
        return Answer::of(bound.operator.allows(Ordering::Equal), reason);
    }
    match (numbers(found), numbers(&bound.version)) {
        (Some(a), Some(b)) => Answer::of(bound.operator.allows(a.cmp(&b)), reason),
        // Two texts differ; which is newer nobody can tell.
        _ if bound.operator == super::rule::Operator::Equal => Answer::No(reason),
        _ => Answer::Unknown(format!("{reason}, which cannot be compared with {}", bound.version)),
    }
}

/// The numbers of a version, zeros at the end left out.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let mut numbers =
        version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}
