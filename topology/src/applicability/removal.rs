//! What a machine removes of a revision that is to go, and why not.

use std::collections::HashMap;

use super::inventory::{Format, Inventory, Package};
use super::packages::{is_same, packages};
use super::{State, Verdict, payloads_for, verdict};
use crate::revision::{Installer, Payload, Revision};

/// What is to be removed of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal<'a> {
    /// Nothing: it is not there. Another version of a package is not this revision.
    Gone(String),
    /// Nobody can remove it, or tell whether it is there.
    Impossible(String),
    /// The machine's administrator keeps these of its packages.
    Held(Vec<&'a str>),
    /// These packages, as their manager names them: for dpkg `NAME`, or
    /// `NAME:ARCHITECTURE` where the machine has several; for rpm
    /// `NAME-VERSION-RELEASE.ARCHITECTURE`.
    Packages(Vec<String>),
    /// What its vendor's installer put there.
    Vendor(&'a Installer),
    /// The files that were put in the place of others for it.
    Files,
}

/// What a machine has to do so that nothing of `revision` is there any more: of
/// packages those that it has in the revision's very version.
#[must_use]
pub fn removal<'a>(revision: &'a Revision, machine: &Inventory) -> Removal<'a> {
    if revision.format().is_some() {
        return of_packages(revision, machine);
    }
    let found = verdict(revision, machine);
    if revision.is_placed() {
        return of_files(revision, machine, found);
    }
    let installer = revision.facts.installer.as_ref();
    match (found.state, installer.filter(|one| !one.remove.is_empty())) {
        (State::Applicable | State::NotApplicable, _) => Removal::Gone(found.reason),
        (State::Unknown, _) => {
            Removal::Impossible(format!("nobody can tell whether it is there: {}", found.reason))
        }
        (State::Installed, Some(installer)) => Removal::Vendor(installer),
        (State::Installed, None) => {
            Removal::Impossible("its vendor states no way to remove it; it is there".to_owned())
        }
    }
}

/// What became of a file since does not count: whoever removes it looks at that.
fn of_files<'a>(revision: &Revision, machine: &Inventory, found: Verdict) -> Removal<'a> {
    match found.state {
        _ if machine.placed.values().any(|id| *id == revision.id) => Removal::Files,
        State::Installed => Removal::Impossible(
            "its files are there, and this agent did not put them there: nobody knows what was there before, so remove them by hand".to_owned(),
        ),
        State::Applicable | State::NotApplicable | State::Unknown => Removal::Gone(found.reason),
    }
}

fn of_packages<'a>(revision: &'a Revision, machine: &Inventory) -> Removal<'a> {
    let (mut names, mut held, mut other) = (Vec::new(), Vec::new(), None);
    for (format, payload) in packages(revision).filter(|(_, one)| machine.runs(&one.architecture)) {
        let instances = || machine.instances(format, &payload.package);
        for present in instances().filter(|one| is_same(payload, one)) {
            if !format.compare(&payload.version, &present.version).is_eq() {
                other = other.or(Some((&payload.package, &present.version)));
            } else if present.held {
                held.push(payload.package.as_str());
            } else {
                let Package { version, architecture, .. } = present;
                names.push(match instances().count() {
                    _ if format == Format::Rpm => {
                        format!("{}-{version}.{architecture}", payload.package)
                    }
                    1 => payload.package.clone(),
                    _ => format!("{}:{}", payload.package, present.architecture),
                });
            }
        }
    }
    names.dedup();
    match (names.is_empty(), held.is_empty(), other) {
        (_, false, _) => Removal::Held(held),
        (false, true, _) => Removal::Packages(names),
        (true, true, Some((name, version))) => {
            Removal::Gone(format!("{name} is there in version {version}, which is not this one"))
        }
        (true, true, None) => Removal::Gone("none of its packages is on this machine".to_owned()),
    }
}

/// The packages of revisions that are to go, which nothing else may bring back.
#[derive(Debug, Clone, Default)]
pub struct Unwanted<'a> {
    by_name: HashMap<(Format, &'a str), Vec<&'a Payload>>,
}

impl<'a> Unwanted<'a> {
    /// Those of all these revisions.
    #[must_use]
    pub fn of(revisions: impl IntoIterator<Item = &'a Revision>) -> Self {
        let mut by_name: HashMap<(Format, &str), Vec<&Payload>> = HashMap::new();
        for (format, payload) in revisions.into_iter().flat_map(packages) {
            by_name.entry((format, &payload.package)).or_default().push(payload);
        }
        Self { by_name }
    }

    /// The first of them that installing `revision` on the machine would bring.
    #[must_use]
    pub fn brought_by(&self, revision: &Revision, machine: &Inventory) -> Option<&'a Payload> {
        let format = revision.format().filter(|_| !self.by_name.is_empty())?;
        payloads_for(revision, machine).into_iter().find_map(|payload| self.like(format, payload))
    }

    /// Whether a package is one of them.
    #[must_use]
    pub fn has(&self, format: Format, payload: &Payload) -> bool {
        self.like(format, payload).is_some()
    }

    fn like(&self, format: Format, payload: &Payload) -> Option<&'a Payload> {
        let unwanted = self.by_name.get(&(format, payload.package.as_str()))?;
        let is_one = |one: &&&Payload| {
            one.architecture == payload.architecture
                && format.compare(&one.version, &payload.version).is_eq()
        };
        unwanted.iter().find(is_one).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{debian, machine, rule, stated};
    use super::super::{Detection, Rule};
    use super::*;
    use crate::revision::Facts;

    #[test]
    fn what_is_there_in_its_very_version_goes_and_nothing_else() {
        let app = debian("v:s/app@2", &["app 2 amd64", "app-doc 2 all", "lib 2 arm64"]);
        let packages = |names: &[&str]| {
            Removal::Packages(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (present, expected) in [
            (&[("app", "2"), ("lib", "2"), ("vi", "2")][..], packages(&["app"])),
            (&[("app", "2"), ("app-doc", "1")], packages(&["app"])),
            (&[("app", "2"), ("app-doc", "2")], packages(&["app", "app-doc"])),
            (&[("app", "0:2")], packages(&["app"])),
        ] {
            assert_eq!(removal(&app, &machine(present)), expected, "{present:?}");
        }
        for (present, why) in [
            (&[("app", "1")][..], "app is there in version 1, which is not this one"),
            (&[("app", "3")], "app is there in version 3, which is not this one"),
            (&[("vi", "2")], "none of its packages is on this machine"),
        ] {
            assert_eq!(removal(&app, &machine(present)), Removal::Gone(why.to_owned()));
        }
    }

    #[test]
    fn held_packages_stay_and_one_of_two_architectures_is_named() {
        let app = debian("v:s/app@2", &["app 2 amd64"]);
        let mut held = machine(&[("app", "2")]);
        held.packages.get_mut("app").expect("one")[0].held = true;
        assert_eq!(removal(&app, &held), Removal::Held(vec!["app"]));
        let mut two = machine(&[("app", "2"), ("app", "2")]);
        two.packages.get_mut("app").expect("two")[1].architecture = "i386".to_owned();
        assert_eq!(removal(&app, &two), Removal::Packages(vec!["app:amd64".to_owned()]));
    }

    #[test]
    fn a_vendors_installer_removes_where_it_says_how() {
        let with = |remove: &[&str], installed: Rule| {
            let remove = remove.iter().map(|word| (*word).to_owned()).collect();
            let installer = Installer { remove, ..Installer::default() };
            let detection = Some(Detection { applies: None, installed: Some(installed) });
            stated("v:s/kb@1", Facts { installer: Some(installer), detection, ..Facts::default() })
        };
        let there = || rule("deb app");
        let on = |present: &[(&str, &str)], one: &Revision| match removal(one, &machine(present)) {
            Removal::Vendor(_) => "removes".to_owned(),
            Removal::Gone(_) => "gone".to_owned(),
            Removal::Impossible(why) => why,
            other => format!("{other:?}"),
        };
        let present = &[("app", "1")][..];
        assert_eq!(on(present, &with(&["undo"], there())), "removes");
        assert_eq!(on(&[], &with(&["undo"], there())), "gone");
        let why = on(present, &with(&[], there()));
        assert!(why.starts_with("its vendor states no way to remove it"), "{why}");
        let why = on(present, &with(&["undo"], rule("file /x")));
        assert!(why.starts_with("nobody can tell"), "{why}");
    }

    #[test]
    fn what_is_to_go_is_brought_back_by_nothing() {
        let gone = debian("v:s/app@2", &["app 2 amd64"]);
        let unwanted = Unwanted::of([&gone]);
        let bundle = debian("v:s/bundle@1", &["app 2 amd64", "lib 5 amd64"]);
        let old = machine(&[("app", "1")]);
        let brought = unwanted.brought_by(&bundle, &old).expect("it would bring it");
        assert_eq!((brought.package.as_str(), brought.version.as_str()), ("app", "2"));
        // What it would not install here, it does not bring; another version is another.
        assert_eq!(unwanted.brought_by(&bundle, &machine(&[("lib", "1")])), None);
        let newer = debian("v:s/app@3", &["app 3 amd64"]);
        assert_eq!(unwanted.brought_by(&newer, &old), None);
        assert_eq!(Unwanted::default().brought_by(&bundle, &old), None);
    }
}
