//! Views of several sets: what is built, shared, kept and dated.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::SignedDuration;
use patchmesh_topology::name::Site;
use patchmesh_topology::revision::{DocumentRef, RevisionId};
use patchmesh_topology::rollout::{Progress, Rollout, RolloutState, Wave, brake};

use super::testing::{self, Company, GROUP};
use super::*;
use crate::view::standing::{self, Standings};

const BRANCHES: [(&str, &str); 3] =
    [("paris", "emea/fr"), ("berlin", "emea/de"), ("tokyo", "apac/jp")];

fn group() -> GroupName {
    GROUP.parse().unwrap()
}

/// The views of the group, by what has settled and what is opening.
fn views(generation: &Generation) -> Vec<&Arc<StoredView>> {
    of_group(&generation.views, Stage::Production, &group()).map(|(_, view)| view).collect()
}

#[tokio::test]
async fn two_waves_over_three_sites() {
    let company = Company::start(&BRANCHES).await;
    let many: Vec<String> = (0..70).map(|number| format!("old{number:02}")).collect();
    let old = many.clone();
    company.change(move |draft| testing::approve(draft, &old, "default-production")).await;
    assert_eq!(views(&company.primary.current.get()).len(), 1);
    company.plan("spring", &[&["emea/fr"], &["emea"], &[]], 1).await;
    let first = company.approve(&["spring"], "spring").await;

    // Two sets for three sites, and groups share them.
    let found = views(&first);
    assert_eq!((found.len(), first.views.len()), (2, 7));
    let documents: BTreeSet<DocumentRef> = found.iter().map(|view| view.document).collect();
    let all: BTreeSet<DocumentRef> = first
        .views
        .iter()
        .filter(|((stage, ..), _)| *stage == Stage::Production)
        .map(|(_, view)| view.document)
        .collect();
    assert_eq!(documents, all);
    let tally = company.primary.publisher.views();
    assert_eq!((tally.sets, tally.views, tally.most, tally.built), (7, 3, 2, 1));
    // What has settled is one and the same, and so are its indices.
    assert_eq!(found[0].view().pools.settled, found[1].view().pools.settled);
    let settled = |view: &StoredView| -> Vec<(String, DocumentRef)> {
        let files = view.view().files.iter().filter(|(path, _)| path.contains("/settled/"));
        files.map(|(path, blob)| (path.clone(), *blob)).collect()
    };
    assert_eq!(settled(found[0]), settled(found[1]));
    assert!(!settled(found[0]).is_empty());

    let with = |more: &[&str]| -> Vec<String> {
        many.iter().cloned().chain(more.iter().map(|&name| name.to_owned())).collect()
    };
    assert_eq!(company.packages("paris"), with(&["spring"]));
    assert_eq!(company.packages("berlin"), with(&[]));
    // The same bytes where the same is open.
    let view = |name| company.at(name).map(|one| one.full.view);
    assert_eq!(view("berlin"), view("tokyo"));
    assert_ne!(view("berlin"), view("paris"));

    // The next wave builds nothing: what Berlin gets is there already.
    let second = company.plan("spring", &[&["emea/fr"], &["emea"], &[]], 2).await;
    assert_eq!(company.primary.publisher.views().built, 0);
    assert_eq!(second.views_version, first.views_version);
    assert_eq!(view("berlin"), view("paris"));
    assert_eq!(company.packages("tokyo"), with(&[]));
    let last = company.plan("spring", &[&["emea/fr"], &["emea"], &[]], 3).await;
    assert_eq!(views(&last).len(), 1);
    assert_eq!(view("tokyo"), view("paris"));
}

#[tokio::test]
async fn a_site_never_comes_to_an_older_view() {
    let company = Company::start(&BRANCHES).await;
    let waves: [&[&str]; 2] = [&["emea/fr"], &[]];
    company.plan("spring", &waves, 0).await;
    company.approve(&["always"], "default-production").await;
    company.approve(&["spring"], "spring").await;
    let date = |name| company.at(name).map(|one| one.full.view.signed_at).unwrap();
    let before = date("paris");
    company.plan("spring", &waves, 1).await;
    let opened = date("paris");
    assert!(opened > before && date("tokyo") == before);
    // Closed again, Paris is served what the others are; dated after what it had.
    company.plan("spring", &waves, 0).await;
    assert_eq!(company.packages("paris"), ["always"]);
    assert!(date("paris") >= opened, "{} before {opened}", date("paris"));
    assert_eq!(date("tokyo"), date("paris"));
}

#[tokio::test]
async fn what_replaces_something_at_one_site_leaves_it_at_the_others() {
    let company = Company::start(&BRANCHES).await;
    let ordinary: Vec<String> = (0..70).map(|number| format!("old{number:02}")).collect();
    company.change(move |draft| testing::approve(draft, &ordinary, "default-production")).await;
    company.plan("spring", &[&["apac"], &[]], 1).await;
    let before = company.at("paris").unwrap();
    let change = |draft: &mut Draft| {
        let mut newer = testing::revision("old07");
        newer.id = RevisionId::new(newer.id.update.clone(), "2").unwrap();
        for payload in &mut newer.payloads {
            payload.version = "2".to_owned();
            payload.control = payload.control.replace("Version: 1", "Version: 2");
            payload.sha256 = patchmesh_topology::digest::Sha256::from_bytes([9; 32]);
        }
        testing::enter(draft, &[newer], 1, "spring");
    };
    company.change(change).await;
    assert_eq!(company.at("paris").unwrap().full.view, before.full.view, "nothing to do there");
    let tokyo = company.at("tokyo").unwrap();
    assert_eq!(company.packages("tokyo").len(), 70);
    assert_eq!(tokyo.full.pools.settled.len(), 69, "all that it has in common with the others");
    assert_eq!(tokyo.full.pools.opening.len(), 1);
}

/// What time alone opens is signed before, and a branch switches by its clock.
#[tokio::test]
async fn what_time_alone_opens_is_signed_ahead() {
    let company = Company::start(&BRANCHES).await;
    company.approve(&["always"], "default-production").await;
    let soon = Timestamp::now() + SignedDuration::from_hours(30);
    let change = move |draft: &mut Draft| {
        let places = vec!["apac".parse().unwrap()];
        let mut waves = vec![Wave::plain("first", places), Wave::plain("rest", Vec::new())];
        waves[1].not_before = Some(soon);
        let name = "spring".parse().unwrap();
        let mut plan = Rollout::running(name, Stage::Production, waves);
        plan.offline = true;
        let mut state = RolloutState::pending(2);
        state.waves[0].progress = Progress::Open { since: draft.now };
        testing::put(draft, plan, state);
        testing::approve(draft, &["spring".to_owned()], "spring");
    };
    let generation = company.change(change).await;
    let at = |name: &str, now| {
        testing::serve(&generation, name, &brake::NONE, &Standings::new(), now).unwrap()
    };
    let now = Timestamp::now();
    assert_eq!(testing::packages(&at("paris", now)), ["always"]);
    assert_eq!(testing::packages(&at("tokyo", now)), ["always", "spring"]);
    assert_eq!(testing::packages(&at("paris", soon)), ["always", "spring"]);
    // It is Tokyo's view that Paris will have, not older than what Paris has.
    assert_eq!(at("paris", soon).full, at("tokyo", now).full);
    assert!(at("paris", soon).full.view.signed_at >= at("paris", now).full.view.signed_at);
    let (name, brakes) = ("paris".parse().unwrap(), &brake::NONE);
    assert_eq!(standing::next_moment(&generation, &name, brakes, now), Some(soon));

    // Where it is open nowhere yet, it is dated at its opening.
    let change = move |draft: &mut Draft| {
        let mut wave = Wave::plain("all", Vec::new());
        wave.not_before = Some(soon);
        let name = "summer".parse().unwrap();
        let mut plan = Rollout::running(name, Stage::Production, vec![wave]);
        plan.offline = true;
        testing::put(draft, plan, RolloutState::pending(1));
        testing::approve(draft, &["summer".to_owned()], "summer");
    };
    let generation = company.change(change).await;
    let at = |now| testing::serve(&generation, "paris", brakes, &Standings::new(), now).unwrap();
    assert_eq!(testing::packages(&at(soon)), ["always", "spring", "summer"]);
    assert_eq!(at(soon).full.view.signed_at.as_second(), soon.as_second());
    assert!(at(now).full.view.signed_at <= Timestamp::now() + apt::MAX_AHEAD);
    // It stands until then, and is not what others are dated after.
    let later = company.approve(&["autumn"], "default-production").await;
    let dates: Vec<Timestamp> = views(&later).iter().map(|one| one.view().signed_at).collect();
    let ahead = dates.iter().filter(|at| **at > Timestamp::now() + apt::MAX_AHEAD);
    assert_eq!(ahead.map(|at| at.as_second()).collect::<Vec<_>>(), [soon.as_second()]);
}

/// What several sets cost: run by hand, it prints how long views take.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and shows figures"]
async fn building_for_six_geographies() {
    let geographies = ["emea", "apac", "amer", "africa", "arctic", "oceania"];
    let mut branches = Vec::new();
    for number in 0..600 {
        let place = geographies[number % geographies.len()];
        branches.push((format!("n{number}"), format!("{place}/s{number}")));
    }
    let named: Vec<(&str, &str)> =
        branches.iter().map(|(name, site)| (name.as_str(), site.as_str())).collect();
    let company = Company::start(&named).await;
    let names: Vec<String> = (0..20_000).map(|number| format!("package{number:05}")).collect();
    company.change(move |draft| testing::approve(draft, &names, "default-production")).await;
    let told = |what: &str, begun: Instant| {
        let tally = company.primary.publisher.views();
        println!(
            "{what}: {} sets, {} views, {} built in {:.3} s; published in {:.3} s",
            tally.sets,
            tally.views,
            tally.built,
            tally.took.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
    };
    let everywhere: Vec<Vec<Site>> = vec![Vec::new()];
    let begun = Instant::now();
    company.approve(&["one"], "default-production").await;
    told("one more approval, one view", begun);
    let begun = Instant::now();
    company.approve(&["two"], "default-production").await;
    told("one more approval, one view", begun);
    let wave = |place: &str| vec![place.parse::<Site>().unwrap()];
    for open in 0..=geographies.len() {
        let waves: Vec<Vec<Site>> = geographies.iter().map(|place| wave(place)).collect();
        let begun = Instant::now();
        company
            .change(move |draft| {
                testing::plan(draft, "spring", &waves, open);
                if open == 0 {
                    testing::approve(draft, &["spring".to_owned()], "spring");
                }
            })
            .await;
        told(&format!("a rollout open in {open} of 6"), begun);
    }
    // Six sets at once: a rollout for each geography.
    let plans = geographies.map(|place| (place.to_owned(), vec![wave(place)]));
    let begun = Instant::now();
    company
        .change(move |draft| {
            testing::plan(draft, "spring", &everywhere, 1);
            for (name, waves) in &plans {
                testing::plan(draft, name, waves, 1);
                testing::approve(draft, &[format!("for-{name}")], name);
            }
        })
        .await;
    told("another set in each of 6", begun);
    let begun = Instant::now();
    company.approve(&["three"], "default-production").await;
    told("one more approval, six views", begun);
}
