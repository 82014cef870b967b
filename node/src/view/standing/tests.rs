//! What branches serve of a generation.

use std::sync::Arc;

use patchmesh_topology::rollout::Brake;
use patchmesh_topology::rollout::brake::Subject;

use super::*;
use crate::generation::StoredView;
use crate::primary::views::testing::{Company, GROUP, packages, revision, serve, serve_held};

const BRANCHES: [(&str, &str); 2] = [("paris", "emea/fr"), ("tokyo", "apac/jp")];

/// A company in which `spring` is open in Paris only.
async fn company() -> Company {
    let company = Company::start(&BRANCHES).await;
    company.approve(&["always"], "default-production").await;
    company.plan("spring", &[&["emea"], &[]], 1).await;
    company.approve(&["spring"], "spring").await;
    company
}

fn audience() -> Audience {
    (Stage::Production, GROUP.parse().unwrap())
}

/// What is served, with no brake pulled.
fn served(generation: &Generation, name: &str, before: &Standings) -> Option<Standing> {
    serve(generation, name, &brake::NONE, before, Timestamp::now())
}

fn brakes(subject: Subject) -> Brakes {
    let brake = Brake {
        subject,
        reason: "breaks the printer".to_owned(),
        by: "jean".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        until: Timestamp::MAX,
    };
    Brakes::from([("printer".parse().unwrap(), brake)])
}

#[tokio::test]
async fn each_serves_its_own_and_knows_it_again() {
    let company = company().await;
    let generation = company.primary.current.get();
    let serves = |name| served(&generation, name, &Standings::new()).unwrap();
    let (paris, tokyo) = (serves("paris"), serves("tokyo"));
    assert_eq!((paris.fit, packages(&paris)), (Fit::Own, vec!["always".into(), "spring".into()]));
    assert_eq!((tokyo.fit, packages(&tokyo)), (Fit::Own, vec!["always".into()]));
    let before = Standings::from([(audience(), Some(paris.clone()))]);
    assert_eq!(served(&generation, "paris", &before), Some(paris));
    assert_eq!(served(&generation, "nobody", &Standings::new()), None);
}

/// Whoever holds the online key signs views as they like; a branch still opens
/// no more than plans and their states do.
#[tokio::test]
async fn a_view_with_more_than_is_open_is_not_served() {
    let company = company().await;
    let mut forged = company.primary.current.get().as_ref().clone();
    let own = |name| company.at(name).unwrap();
    let (paris, tokyo) = (own("paris"), own("tokyo"));
    let key = |set| (Stage::Production, GROUP.parse().unwrap(), set);
    let full = forged.views[&key(paris.set)].clone();
    forged.views.insert(key(tokyo.set), full.clone());
    let before = Standings::from([(audience(), Some(tokyo.clone()))]);
    let found = served(&forged, "tokyo", &before).unwrap();
    assert_eq!((found.fit, packages(&found)), (Fit::Refused, vec!["always".into()]));
    assert_eq!(found.document, None, "what was served until then");
    // Without anything before, rather nothing than too much.
    assert_eq!(served(&forged, "tokyo", &Standings::new()), None);
    // Nor does an entry without a set open anything.
    forged.views.remove(&key(tokyo.set));
    forged.views.remove(&key(paris.set));
    forged.views.insert(key(SetId::UNSTATED), full);
    assert_eq!(served(&forged, "tokyo", &Standings::new()), None);
    let paris = served(&forged, "paris", &Standings::new()).unwrap();
    assert_eq!((paris.fit, packages(&paris).len()), (Fit::Unstated, 2));
}

#[tokio::test]
async fn without_a_view_of_its_own_a_site_is_served_less() {
    let company = company().await;
    let mut lacking = company.primary.current.get().as_ref().clone();
    let paris = company.at("paris").unwrap();
    lacking.views.remove(&(Stage::Production, GROUP.parse().unwrap(), paris.set));
    let found = served(&lacking, "paris", &Standings::new()).unwrap();
    assert_eq!((found.fit, packages(&found)), (Fit::Less, vec!["always".into()]));
    let folder = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(&folder.path().join("data"), crate::store::Mode::Create);
    let alerts = Alerts::open(&store.unwrap()).unwrap();
    let told = |standing| tell(&Standings::from([(audience(), standing)]), &alerts);
    told(Some(found));
    let text = |alerts: &Alerts| -> Vec<String> {
        alerts.to_wire().into_iter().map(|one| format!("{}: {}", one.key, one.text)).collect()
    };
    assert!(text(&alerts)[0].starts_with("view/production/workstations: machines"));
    told(None);
    assert!(text(&alerts)[0].contains("are served nothing"), "{:?}", text(&alerts));
    told(Some(paris));
    assert!(text(&alerts).is_empty());
}

#[tokio::test]
async fn what_is_held_back_at_a_site_is_not_served_there() {
    let company = company().await;
    let generation = company.primary.current.get();
    let now = Timestamp::now();
    for subject in [
        Subject::Revision(revision("spring").id),
        Subject::Update(revision("spring").id.update.clone()),
        Subject::Rollout("spring".parse().unwrap()),
    ] {
        let paris = serve(&generation, "paris", &brakes(subject), &Standings::new(), now).unwrap();
        assert_eq!((paris.fit, packages(&paris)), (Fit::Own, vec!["always".into()]));
    }
    // What nobody has a view without is not served at all.
    let always = brakes(Subject::Revision(revision("always").id));
    assert_eq!(serve(&generation, "paris", &always, &Standings::new(), now), None);
}

#[tokio::test]
async fn what_has_not_arrived_is_not_served_and_holds_up_nothing_else() {
    let company = company().await;
    let generation = company.primary.current.get();
    let spring = generation.approvals[&Stage::Production].set.entries.iter();
    let (_, approval) = spring.last().unwrap();
    let awaited = Awaited::from_iter([("spring".parse().unwrap(), approval.at)]);
    let held = Held { awaited: &awaited, ..NOTHING_HELD };
    let now = Timestamp::now();
    let at = |generation: &Generation, before: &Standings| {
        serve_held(generation, "paris", held, before, now).unwrap()
    };
    let paris = at(&generation, &Standings::new());
    assert_eq!((paris.fit, packages(&paris)), (Fit::Own, vec!["always".into()]));
    // Now every site has spring open: there is a view without it for those that
    // say that they await it.
    company.plan("spring", &[&["emea"], &[]], 2).await;
    company.awaits("paris", &awaited).await;
    let generation = company.approve(&["urgent"], "default-production").await;
    let before = Standings::from([(audience(), Some(paris))]);
    let held_here = at(&generation, &before);
    let expected: Vec<String> = vec!["always".into(), "urgent".into()];
    assert_eq!((held_here.fit, packages(&held_here)), (Fit::Own, expected));
    // It goes on to a view that is not older, by itself.
    let before = Standings::from([(audience(), Some(held_here.clone()))]);
    let whole = served(&generation, "paris", &before).unwrap();
    assert_eq!((whole.fit, packages(&whole).len()), (Fit::Own, 3));
    assert!(whole.view().signed_at >= held_here.view().signed_at);
}

/// The view of what is open somewhere is there before; that without what a node
/// awaits comes when it says so.
#[tokio::test]
async fn a_node_that_says_what_it_awaits_is_given_a_view_without_it() {
    let company = Company::start(&BRANCHES).await;
    company.approve(&["always"], "default-production").await;
    company.plan("spring", &[&[]], 1).await;
    let generation = company.approve(&["spring", "urgent"], "spring").await;
    let approvals = &generation.approvals[&Stage::Production].set;
    let awaited = Awaited::of([approvals.as_ref()], |_| false);
    let held = Held { awaited: &awaited, ..NOTHING_HELD };
    let at = |generation: &Generation| {
        serve_held(generation, "paris", held, &Standings::new(), Timestamp::now())
    };
    assert!(at(&generation).is_none());
    let whole = served(&generation, "paris", &Standings::new()).unwrap();
    company.awaits("paris", &awaited).await;
    let generation = company.primary.current.get();
    let less = at(&generation).unwrap();
    assert_eq!((less.fit, packages(&less)), (Fit::Own, vec!["always".into()]));
    // The whole was signed again with it, since clients refuse what is older.
    let again = served(&generation, "paris", &Standings::new()).unwrap();
    assert_eq!(packages(&again), packages(&whole));
    assert!(again.view().signed_at >= less.view().signed_at);
    // Nothing is built for what is known.
    company.awaits("tokyo", &awaited).await;
    assert_eq!(company.primary.current.get().number, generation.number);
}

/// What one site waits for another may have: a view that is signed again for the one
/// takes the other along.
#[tokio::test]
async fn sites_that_go_on_one_after_the_other_come_to_nothing_older() {
    let company = Company::start(&BRANCHES).await;
    company.plan("first", &[&[]], 1).await;
    company.approve(&["one"], "first").await;
    company.plan("second", &[&["apac"]], 1).await;
    let generation = company.approve(&["two"], "second").await;
    let approvals = generation.approvals[&Stage::Production].set.as_ref();
    let awaits = |name: &str| Awaited::of([approvals], |id| !id.to_string().contains(name));
    company.awaits("tokyo", &awaits("/two")).await;
    company.awaits("paris", &awaits("/one")).await;
    let generation = company.primary.current.get();
    let (awaited, now) = (awaits("/two"), Timestamp::now());
    let held = Held { awaited: &awaited, ..NOTHING_HELD };
    let less = serve_held(&generation, "tokyo", held, &Standings::new(), now).unwrap();
    let whole = served(&generation, "tokyo", &Standings::new()).unwrap();
    assert_eq!(packages(&less), ["one"]);
    assert_eq!(packages(&whole), ["one", "two"]);
    assert!(whole.view().signed_at >= less.view().signed_at);
}

#[tokio::test]
async fn the_view_of_an_earlier_software_is_served_until_there_is_another() {
    let company = Company::start(&BRANCHES).await;
    company.approve(&["always"], "default-production").await;
    let mut old = company.primary.current.get().as_ref().clone();
    let views: Vec<((Stage, GroupName, SetId), Arc<StoredView>)> = old.views.into_iter().collect();
    old.views = views
        .into_iter()
        .map(|((stage, group, _), view)| ((stage, group, SetId::UNSTATED), view))
        .collect();
    let found = served(&old, "tokyo", &Standings::new()).unwrap();
    assert_eq!((found.fit, packages(&found)), (Fit::Unstated, vec!["always".into()]));
}
