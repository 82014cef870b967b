//! What goes by its deadline, and what does not.

use jiff::SignedDuration;
use patchmesh_topology::applicability::Detection;
use patchmesh_topology::approval::{Approval, ApprovalSet, Decision};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{BrakeName, ExceptionName};
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::revision::{CatalogueEntry, DocumentRef, Facts, Installer, Severity};
use patchmesh_topology::rollout::brake::{self, Brake};
use patchmesh_topology::rollout::deadline::{Policy, Times, Weight};
use patchmesh_topology::rollout::exception::{self, Exception, Subject};
use patchmesh_topology::rollout::{Rollout, RolloutSet, Wave, WaveStateSet};

use super::*;

fn hour(number: i64) -> Timestamp {
    Timestamp::from_second(number * 3600).expect("a time")
}

/// A machine of `servers` that needs `app`, which is critical, and `tool`, which is low. Both
/// entered the catalogue at 0 and are open; due is what is critical after 10 hours, and what is
/// low never.
struct World {
    chain: Chain,
    inventory: Inventory,
    brakes: Brakes,
    planned: Option<Planned>,
}

const APP: &str = "v:s/app@1";
const TOOL: &str = "v:s/tool@1";

fn id(text: &str) -> RevisionId {
    text.parse().expect("a revision")
}

fn group() -> GroupName {
    "servers".parse().expect("a group")
}

fn plan() -> RolloutName {
    "r".parse().expect("a name")
}

fn exception(machine: &str) -> (ExceptionName, Exception) {
    let text = String::new;
    let exception = Exception {
        scope: exception::Scope::Machine(machine.parse().expect("a name")),
        subject: Subject::All,
        reason: text(),
        workaround: text(),
        owner: text(),
        since: hour(0),
        until: hour(1000),
    };
    ("lab".parse().expect("a name"), exception)
}

impl World {
    fn new(at_deadline: AtDeadline) -> Self {
        let (site, key) = ("emea".parse().expect("a site"), Sha256::from_bytes([1; 32]));
        let (name, url) = ("hq".parse().expect("a name"), "https://hq:1".to_owned());
        let mesh = Mesh::found("m".to_owned(), "M".to_owned(), name, site, url, key);
        let mesh = mesh.expect("a mesh");
        let waves = vec![Wave::plain("all", vec![])];
        let mut rollout = Rollout::running(plan(), Stage::Production, waves);
        let critical = Some(SignedDuration::from_hours(10));
        rollout.deadline = Policy::Custom(Times { critical, ..Times::default() });
        let states = [(plan(), rollout.all_open(hour(0)))].into();
        let mut plans = RolloutSet::default();
        plans.rollouts.insert(plan(), rollout);
        let mut approvals = ApprovalSet::empty(Stage::Production);
        let (mut entries, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        for (text, severity) in [(APP, Severity::Critical), (TOOL, Severity::Low)] {
            let installed = Some(format!("fact {text}").parse().expect("a rule"));
            let revision = Revision {
                id: id(text),
                title: String::new(),
                description: String::new(),
                architectures: Vec::new(),
                payloads: Vec::new(),
                facts: Facts {
                    severity: Some(severity),
                    detection: Some(Detection { applies: None, installed }),
                    ..Facts::default()
                },
            };
            let fingerprint = Digest::of(text.as_bytes());
            let document = DocumentRef { digest: fingerprint, length: 1 };
            let entry = CatalogueEntry { document, entered_at: hour(0), ordinal: 0, fingerprint };
            entries.insert(id(text), entry);
            revisions.insert(id(text), revision);
            let approval = Approval {
                decision: Decision::Approved(plan()),
                by: "ada".to_owned(),
                at: hour(0),
                comment: String::new(),
                rule: String::new(),
            };
            approvals.entries.insert((id(text), group()), approval);
        }
        let chain = Chain {
            number: 1,
            expires: hour(1000),
            mesh,
            mode: InstallMode::Manual,
            at_deadline,
            weights: Some(BTreeMap::new()),
            approvals,
            plans,
            states: WaveStateSet { version: 1, states },
            bindings: BTreeMap::new(),
            entries,
            revisions,
        };
        Self { chain, inventory: Inventory::default(), brakes: Brakes::new(), planned: None }
    }

    fn wave(&mut self) -> &mut Wave {
        let plan = self.chain.plans.rollouts.get_mut(&plan()).expect("the plan");
        &mut plan.waves[0]
    }

    /// What becomes of a revision at an hour, where a person asked for something.
    fn asked<T>(
        &self,
        at: i64,
        asked: &Asked,
        which: &str,
        look: impl FnOnce(&Item<'_>) -> T,
    ) -> T {
        let (machine, site) = ("pc-1".parse().expect("a name"), "emea".parse().expect("a site"));
        let asking = Asking {
            machine: &machine,
            group: &group(),
            site: &site,
            zone: &Zone::default(),
            brakes: &self.brakes,
            mode: self.chain.mode,
            planned: self.planned,
            asked,
            now: hour(at),
        };
        let items = decide(&self.chain, &self.inventory, &Tries::default(), &asking);
        look(items.iter().find(|one| one.revision.id == id(which)).expect("an item"))
    }

    fn at<T>(&self, at: i64, which: &str, look: impl FnOnce(&Item<'_>) -> T) -> T {
        self.asked(at, &Asked::Nothing, which, look)
    }

    /// Whether it goes at an hour, for its deadline alone.
    fn goes(&self, at: i64, which: &str) -> bool {
        self.at(at, which, |item| {
            assert_eq!(item.install.is_some(), item.is_by_deadline, "{item:?}");
            assert_eq!(item.install.is_some(), item.waits_for.is_empty(), "{item:?}");
            item.is_by_deadline
        })
    }
}

#[test]
fn what_is_due_goes_where_the_group_says_so_and_else_waits() {
    let waits = World::new(AtDeadline::Wait);
    assert!(!waits.goes(9, APP) && !waits.goes(500, APP));
    waits.at(500, APP, |item| {
        assert!(item.is_for_person && item.due.is_none() && item.goes_at.is_none(), "{item:?}");
    });
    for mode in [InstallMode::Manual, InstallMode::Notify] {
        let mut world = World::new(AtDeadline::Install);
        world.chain.mode = mode;
        assert!(!world.goes(10, APP), "by then, and not from then on");
        assert!(world.goes(11, APP));
        assert!(!world.goes(500, TOOL), "nothing else goes along");
        world.at(9, APP, |item| {
            assert!(item.is_for_person, "{item:?}");
            assert_eq!((item.due, item.goes_at), (Some(hour(10)), Some(hour(10))));
            let why = &item.waits_for;
            assert!(why.ends_with("; by itself from 1970-01-01T10:00:00Z"), "{why}");
            let standing = item.standing();
            assert_eq!((standing.due_at, standing.goes_at), (item.due, item.goes_at));
        });
        // A person may be sooner, or go along.
        world.asked(9, &Asked::All, APP, |item| {
            assert!(item.install.is_some() && !item.is_by_deadline, "{item:?}");
        });
        world.asked(11, &Asked::All, APP, |item| assert!(!item.is_by_deadline, "{item:?}"));
    }
}

#[test]
fn what_is_to_be_removed_goes_by_the_deadline_from_its_approval_on() {
    let mut world = World::new(AtDeadline::Install);
    let rollout = world.chain.plans.rollouts.get_mut(&plan()).expect("the plan");
    rollout.action = Action::Remove;
    let remove = vec!["setup".to_owned(), "/remove".to_owned()];
    for (text, revision) in [APP, TOOL].into_iter().zip(world.chain.revisions.values_mut()) {
        revision.facts.installer =
            Some(Installer { remove: remove.clone(), ..Installer::default() });
        world.inventory.facts.insert(text.to_owned(), "yes".to_owned());
        let key = (id(text), group());
        world.chain.approvals.entries.get_mut(&key).expect("an approval").at = hour(100);
    }
    world.at(110, APP, |item| {
        assert!(item.is_for_person && !item.is_removed_now(), "{item:?}");
        assert_eq!((item.due, item.goes_at), (Some(hour(110)), Some(hour(110))));
        assert_eq!(item.overdue(), None);
    });
    world.at(111, APP, |item| {
        assert!(item.is_removed_now(), "{item:?}");
        assert_eq!(item.overdue(), Some(hour(110)));
    });
    world.at(500, TOOL, |item| assert!(item.is_for_person && item.due.is_none(), "{item:?}"));
    world.wave().windows = vec!["Fri 03:00-04:00".parse().expect("hours")];
    // The epoch was a Thursday.
    world.at(111, APP, |item| {
        assert!(!item.is_removed_now() && item.goes_at == Some(hour(24 * 8 + 3)), "{item:?}");
    });
    world.chain.at_deadline = AtDeadline::Wait;
    world.at(500, APP, |item| assert!(!item.is_removed_now() && item.due.is_none(), "{item:?}"));
    // What is not there is done.
    world.chain.at_deadline = AtDeadline::Install;
    world.wave().windows.clear();
    world.inventory.facts.clear();
    world.at(500, APP, |item| {
        assert_eq!((item.due, item.overdue(), item.is_removed_now()), (None, None, false));
    });
}

#[test]
fn who_installs_by_itself_does_so_before_any_deadline() {
    let mut world = World::new(AtDeadline::Install);
    world.chain.mode = InstallMode::Automatic;
    for hours in [9, 11] {
        world.at(hours, APP, |item| {
            assert!(item.install.is_some() && !item.is_by_deadline, "{item:?}");
            assert_eq!(item.goes_at, None);
        });
    }
}

#[test]
fn what_waits_for_the_machines_time_goes_by_its_deadline() {
    let mut world = World::new(AtDeadline::Install);
    world.chain.mode = InstallMode::Automatic;
    let planned = |from| Some(Planned { at: "03:00".parse().expect("a time"), from: hour(from) });
    world.planned = planned(20);
    assert!(!world.goes(9, APP) && world.goes(11, APP) && !world.goes(11, TOOL));
    world.at(9, APP, |item| {
        assert_eq!((item.goes_at, item.is_for_person), (Some(hour(10)), false));
        let why = &item.waits_for;
        assert!(why.ends_with("from 1970-01-01T20:00:00Z on; by itself from 1970-01-01T10:00:00Z"));
    });
    // It goes at that time anyway.
    world.planned = planned(10);
    world.at(9, APP, |item| assert_eq!(item.goes_at, None));
}

#[test]
fn what_is_assessed_counts_and_without_it_nothing_is_due() {
    let mut world = World::new(AtDeadline::Install);
    let weight = |severity| Weight { severity: Some(severity), ..Weight::default() };
    let weights = [(id(APP), weight(None)), (id(TOOL), weight(Some(Severity::Critical)))];
    world.chain.weights = Some(weights.into());
    assert!(world.goes(11, TOOL) && !world.goes(11, APP), "there is no risk without it");
    world.chain.weights = None;
    assert!(!world.goes(500, TOOL) && !world.goes(500, APP));
}

#[test]
fn who_can_be_reached_from_outside_is_due_sooner() {
    let mut world = World::new(AtDeadline::Install);
    let exploited = Weight { exploited: true, total: true, ..Weight::default() };
    world.chain.weights = Some([(id(APP), exploited)].into());
    let plan = world.chain.plans.rollouts.get_mut(&plan()).expect("the plan");
    plan.deadline = Policy::CisaBod2604;
    let due = |world: &World| world.at(1, APP, |item| item.due);
    assert_eq!(due(&world), Some(hour(14 * 24)));
    world.inventory.facts.insert("exposure".to_owned(), "internet".to_owned());
    assert_eq!(due(&world), Some(hour(3 * 24)));
}

#[test]
fn a_deadline_opens_nothing() {
    // The epoch was a Thursday.
    let mut world = World::new(AtDeadline::Install);
    world.wave().windows = vec!["Fri 03:00-04:00".parse().expect("hours")];
    assert!(!world.goes(11, APP));
    world.at(11, APP, |item| {
        assert!(!item.is_for_person && item.waits_for.starts_with("wave all installs from"));
        assert_eq!((item.due, item.goes_at), (Some(hour(10)), Some(hour(27))));
    });
    assert!(world.goes(27, APP));
    world.wave().windows.clear();
    assert!(world.goes(11, APP));

    let name: BrakeName = "till".parse().expect("a name");
    let brake = Brake {
        subject: brake::Subject::Revision(id(APP)),
        reason: "stocktaking".to_owned(),
        by: "bob".to_owned(),
        since: hour(0),
        until: hour(20),
    };
    world.brakes.insert(name, brake);
    assert!(!world.goes(11, APP) && world.goes(20, APP));
    world.brakes.clear();

    world.chain.plans.exceptions = [exception("pc-2")].into();
    assert!(world.goes(11, APP), "somebody else does without");
    world.chain.plans.exceptions = [exception("pc-1")].into();
    assert!(!world.goes(11, APP));
    world.at(11, APP, |item| assert_eq!((item.due, item.goes_at), (None, None)));
}
