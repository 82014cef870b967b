//! A company with sites, for tests of its views.

use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::{document, wire};
use patchmesh_topology::approval::{Approval, Decision};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{GroupName, RolloutName, Site};
use patchmesh_topology::node::membership::Invitation;
use patchmesh_topology::node::{Role, Stage};
use patchmesh_topology::revision::{Binding, CatalogueEntry, Facts, Payload, Revision, RevisionId};
use patchmesh_topology::rollout::{Brakes, Progress, Rollout, RolloutState, Wave, brake};
use patchmesh_topology::view::awaited::{Awaited, ByNode};

use crate::generation::Generation;
use crate::primary::draft::Draft;
use crate::primary::publisher::Worker;
use crate::primary::testing::TestPrimary;
use crate::view::standing::{Held, NOTHING_HELD, Standing, Standings, standings};

/// The group that is looked at.
pub(crate) const GROUP: &str = "workstations";

/// A primary with branches, each named by its site.
pub(crate) struct Company {
    pub(crate) primary: TestPrimary,
}

/// A revision of one package, with a file of its own.
pub(crate) fn revision(name: &str) -> Revision {
    let id: RevisionId = format!("vendor:bookworm/{name}@1").parse().expect("a revision");
    let payload = Payload {
        package: name.to_owned(),
        version: "1".to_owned(),
        architecture: "amd64".to_owned(),
        component: "main".to_owned(),
        filename: format!("pool/{name}_1_amd64.deb"),
        length: 4,
        sha256: Sha256::from_bytes(*Digest::of(name.as_bytes()).as_bytes()),
        control: format!("Package: {name}\nVersion: 1\nArchitecture: amd64\nDescription: x\n"),
        language: String::new(),
        place: None,
    };
    Revision {
        title: name.to_owned(),
        description: String::new(),
        architectures: vec!["amd64".to_owned()],
        payloads: vec![payload],
        facts: Facts::default(),
        id,
    }
}

/// Enters revisions into a draft, bound, and approves them for every group.
pub(crate) fn approve(draft: &mut Draft, names: &[String], rollout: &str) {
    let revisions: Vec<Revision> = names.iter().map(|name| revision(name)).collect();
    enter(draft, &revisions, 0, rollout);
}

/// The same with revisions of any kind; `ordinal` counts those before them.
pub(crate) fn enter(draft: &mut Draft, revisions: &[Revision], ordinal: u32, rollout: &str) {
    let mut set = draft.approvals(Stage::Production).as_ref().clone();
    set.version += 1;
    // As synchronising with a vendor does: documents are there before they are named.
    let mut transaction = draft.store().transaction();
    for revision in revisions {
        let bytes = document::encode(&wire::Revision::from(revision));
        transaction.put_blob(&bytes).expect("stored");
        let document = document::reference(&bytes);
        let fingerprint = revision.fingerprint();
        let entry = CatalogueEntry { document, entered_at: draft.now, ordinal, fingerprint };
        Arc::make_mut(&mut draft.catalogue).insert(revision.id.clone(), entry);
        for payload in &revision.payloads {
            let blob = Digest::of(payload.sha256.as_bytes());
            let binding = Binding { sha256: payload.sha256, blob, length: payload.length };
            Arc::make_mut(&mut draft.bindings).insert(payload.sha256, binding);
        }
        for group in draft.mesh.groups_of(Stage::Production) {
            let approval = Approval {
                decision: Decision::Approved(rollout.parse().expect("a rollout")),
                by: "ada".to_owned(),
                at: draft.now,
                comment: String::new(),
                rule: String::new(),
            };
            set.entries.insert((revision.id.clone(), group.name.clone()), approval);
        }
    }
    transaction.commit().expect("stored");
    draft.set_approvals(set);
}

/// Plans waves by their geographies, the first `open` of them open, the others
/// at a gate that nothing passes; again with other states.
pub(crate) fn plan(draft: &mut Draft, rollout: &str, waves: &[Vec<Site>], open: usize) {
    let wave = |(index, places): (usize, &Vec<Site>)| {
        let mut wave = Wave::plain(&format!("w{index}"), places.clone());
        wave.gate.operator = true;
        wave.released = (index < open).then_some(Timestamp::UNIX_EPOCH);
        wave
    };
    let waves: Vec<Wave> = waves.iter().enumerate().map(wave).collect();
    let mut state = RolloutState::pending(waves.len());
    for of_wave in state.waves.iter_mut().take(open) {
        of_wave.progress = Progress::Passed { since: draft.now, at: draft.now };
    }
    let name: RolloutName = rollout.parse().expect("a rollout");
    put(draft, Rollout::running(name, Stage::Production, waves), state);
}

/// Puts a plan and its state in the place of what there was under its name.
pub(crate) fn put(draft: &mut Draft, plan: Rollout, state: RolloutState) {
    let states = Arc::make_mut(&mut draft.wave_states);
    states.states.insert(plan.name.clone(), state);
    states.version += 1;
    let plans = Arc::make_mut(&mut draft.rollouts);
    plans.rollouts.insert(plan.name.clone(), plan);
    plans.version += 1;
}

fn invite(draft: &mut Draft, name: &str, site: &str) {
    let invitation = Invitation {
        name: name.parse().expect("a name"),
        role: Role::Branch,
        parent: "hq".parse().expect("a name"),
        site: site.parse().expect("a site"),
        stages: None,
    };
    draft.mesh = Arc::new(draft.mesh.invite(invitation).expect("invited"));
}

impl Company {
    /// Branches by name and site, and the plan that opens everything at once.
    pub(crate) async fn start(branches: &[(&str, &str)]) -> Self {
        let company = Self { primary: TestPrimary::start().await };
        let branches: Vec<(String, String)> =
            branches.iter().map(|(name, site)| ((*name).to_owned(), (*site).to_owned())).collect();
        company
            .change(move |draft| {
                branches.iter().for_each(|(name, site)| invite(draft, name, site));
                draft.plan(Rollout::default_for(Stage::Production));
            })
            .await;
        company
    }

    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&mut Draft) + Send + 'static,
    ) -> Arc<Generation> {
        let change = |draft: &mut Draft| {
            change(draft);
            Ok::<_, Infallible>(())
        };
        self.primary.publisher.publish(change).await.expect("published").1
    }

    pub(crate) async fn approve(&self, names: &[&str], rollout: &str) -> Arc<Generation> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let rollout = rollout.to_owned();
        self.change(move |draft| approve(draft, &names, &rollout)).await
    }

    pub(crate) async fn plan(
        &self,
        rollout: &str,
        waves: &[&[&str]],
        open: usize,
    ) -> Arc<Generation> {
        let site = |place: &&str| -> Site { place.parse().expect("a site") };
        let waves: Vec<Vec<Site>> =
            waves.iter().map(|places| places.iter().map(site).collect()).collect();
        let rollout = rollout.to_owned();
        self.change(move |draft| plan(draft, &rollout, &waves, open)).await
    }

    /// Lets a branch say what it awaits.
    pub(crate) async fn awaits(&self, name: &str, awaited: &Awaited) {
        let (name, awaited) = (name.parse().expect("a name"), awaited.clone());
        let send = |known: &mut Arc<ByNode>| drop(Arc::make_mut(known).insert(name, awaited));
        self.primary.awaited.send_modify(send);
        self.primary.publisher.alone(Worker::build_awaited).await.expect("running");
    }

    /// What a branch serves now, having served nothing before.
    pub(crate) fn at(&self, name: &str) -> Option<Standing> {
        let generation = self.primary.current.get();
        serve(&generation, name, &brake::NONE, &Standings::new(), Timestamp::now())
    }

    /// The packages that a branch serves, in order.
    pub(crate) fn packages(&self, name: &str) -> Vec<String> {
        self.at(name).iter().flat_map(packages).collect()
    }
}

/// What a branch serves of a generation, after what it served before.
pub(crate) fn serve(
    generation: &Generation,
    name: &str,
    brakes: &Brakes,
    before: &Standings,
    now: Timestamp,
) -> Option<Standing> {
    serve_held(generation, name, Held { brakes, ..NOTHING_HELD }, before, now)
}

/// The same with whatever is held there.
pub(crate) fn serve_held(
    generation: &Generation,
    name: &str,
    held: Held<'_>,
    before: &Standings,
    now: Timestamp,
) -> Option<Standing> {
    let audience = (Stage::Production, GROUP.parse::<GroupName>().expect("a group"));
    let name = name.parse().expect("a name");
    let last = |audience: &_| match before.get(audience) {
        Some(Some(standing)) => vec![&standing.full],
        _ => Vec::new(),
    };
    let mut found = standings(generation, &name, held, before, last, now);
    found.remove(&audience)?
}

/// The packages of a view, in order.
pub(crate) fn packages(standing: &Standing) -> Vec<String> {
    let names = standing
        .full
        .files()
        .filter_map(|(path, _)| Some(path.rsplit('/').next()?.split_once('_')?.0.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
