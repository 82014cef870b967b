//! Strategies for values of the model.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::applicability::{self, Detection};
use patchmesh_topology::approval::{Approval, ApprovalSet, Decision};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::link::Class;
use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::link::profile::{Limits, Profile, Rule};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::name::{GroupName, MachineName, NodeName, RolloutName, Site};
use patchmesh_topology::node::membership::Invitation;
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::node::{Mesh, Role, Stage};
use patchmesh_topology::revision::{
    Binding, CatalogueEntry, Classification, DocumentRef, Facts, Installer, InstallerKind, Payload,
    Place, Reboot, Reference, Revision, RevisionId, Severity,
};
use patchmesh_topology::subscription::Subscription;
use patchmesh_topology::view::set::SetId;
use patchmesh_topology::view::{Pool, PoolFile, Pools, View, ViewSet, Withheld};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

pub(crate) fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

pub(crate) fn stage() -> impl Strategy<Value = Stage> {
    select(Stage::ALL.to_vec())
}

pub(crate) fn time() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.as_second() + 1, Timestamp::MAX.as_second());
    (first..last, 0..1_000_000_000i32)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).expect("a time"))
}

pub(crate) fn group() -> impl Strategy<Value = GroupName> {
    "[a-z0-9][a-z0-9_.-]{0,12}".prop_map(|text| text.parse().expect("a name"))
}

pub(crate) fn machine_name() -> impl Strategy<Value = MachineName> {
    "[a-z0-9][a-z0-9-]{0,12}".prop_map(|text| text.parse().expect("a name"))
}

pub(crate) fn rollout_name() -> impl Strategy<Value = RolloutName> {
    "[a-z0-9][a-z0-9-]{0,12}".prop_map(|text| text.parse().expect("a name"))
}

pub(crate) fn site() -> impl Strategy<Value = Site> {
    "[a-z]{1,5}(/[a-z]{1,5}){0,3}".prop_map(|text| text.parse().expect("a site"))
}

pub(crate) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

pub(crate) fn sha256() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256::from_bytes)
}

fn document() -> impl Strategy<Value = DocumentRef> {
    (digest(), any::<u64>()).prop_map(|(digest, length)| DocumentRef { digest, length })
}

pub(crate) fn revision_id() -> impl Strategy<Value = RevisionId> {
    ("[a-z]{1,4}", "[a-z/-]{1,8}", "[a-z+.-]{1,8}", "[0-9:~+.-]{1,8}", 1..4u32).prop_map(
        |(source, suite, update, version, release)| {
            let text = format!("{source}:{suite}/{update}@{version}");
            text.parse::<RevisionId>().expect("a revision").with_release(release)
        },
    )
}

/// A mesh that grew by invitations, some of them taken up or withdrawn.
pub(crate) fn mesh() -> impl Strategy<Value = Mesh> {
    let node = (any::<[usize; 2]>(), site(), any::<bool>(), 0..4u8);
    vec(node, 0..12).prop_map(|nodes| {
        let key = |number: u8| Sha256::from_bytes([number; 32]);
        let mut mesh = Mesh::found(
            "5f1c".to_owned(),
            "Example".to_owned(),
            name("hq"),
            "emea".parse().expect("a site"),
            "https://hq.example:8443".to_owned(),
            key(0),
        )
        .expect("a mesh");
        for (number, ([parent, other], site, is_lab, fate)) in (1..).zip(nodes) {
            let joined: Vec<NodeName> =
                mesh.nodes.keys().filter(|name| mesh.is_connected(name)).cloned().collect();
            let [parent, other] = [parent, other].map(|one| joined[one % joined.len()].clone());
            let role = if is_lab { Role::Validation } else { Role::Branch };
            let name = name(&format!("n{number}"));
            let at = site.clone();
            let invitation = Invitation { name: name.clone(), role, parent, site, stages: None };
            let Ok(invited) = mesh.invite(invitation) else { continue };
            let url = format!("https://n{number}.example");
            if let Some(group) =
                mesh.groups.values_mut().nth(usize::from(number) % 3).filter(|_| is_lab)
            {
                group.at_deadline = AtDeadline::Install;
            }
            mesh = match fate {
                0 => invited,
                1 => invited.revoke(&name).expect("revoked"),
                _ => invited.join(&name, key(number), url).expect("joined"),
            };
            if let Ok(with_other) = mesh.set_fallback_parents(&name, vec![other]) {
                mesh = with_other;
            }
            let (ipv4, ipv6) = (format!("10.{number}.0.0/16"), format!("2001:db8:{number}::/48"));
            for network in [ipv4, ipv6] {
                let network = network.parse().expect("a network");
                mesh = mesh.set_network(network, at.clone()).expect("set");
            }
        }
        mesh
    })
}

fn subscription() -> impl Strategy<Value = Subscription> {
    let words = || btree_set("[a-z0-9-]{1,8}", 0..3);
    let kinds = btree_set(select(Classification::ALL), 0..3);
    (words(), kinds, words(), words()).prop_map(
        |(products, classifications, languages, architectures)| Subscription {
            products,
            classifications,
            languages,
            architectures,
        },
    )
}

pub(crate) fn hours() -> impl Strategy<Value = Hours> {
    (1..0x80_u8, 0..1440_u16, 0..=1440_u16)
        .prop_filter_map("they never come", |(days, from, to)| Hours::new(days, from, to).ok())
}

fn rate() -> impl Strategy<Value = Rate> {
    prop_oneof![
        Just(Rate::UNLIMITED),
        (8_000..1_000_000_000_u64).prop_map(|bits| Rate::from_bits(bits).expect("a rate")),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let rule = (hours(), rate()).prop_map(|(hours, rate)| Rule { hours, rate });
    (rate(), option::of(rule))
        .prop_map(|(default, rule)| Limits { default, rules: rule.into_iter().collect() })
}

fn link() -> impl Strategy<Value = Profile> {
    let zones = select(vec!["UTC", "Europe/Paris", "Pacific/Kiritimati"]);
    let zone = zones.prop_map(|name| name.parse().expect("a zone"));
    let ahead = select(vec![Class::Normal, Class::Background]);
    (zone, limits(), limits(), vec(hours(), 0..3), any::<bool>(), ahead).prop_map(
        |(zone, down, up, bulk, critical_waits, ahead)| Profile {
            zone,
            down,
            up,
            critical_waits: critical_waits && !bulk.is_empty(),
            bulk,
            ahead,
        },
    )
}

/// The same with some of its nodes and sources narrowed.
pub(crate) fn subscribed_mesh() -> impl Strategy<Value = Mesh> {
    let of_sources = btree_map("[a-z]{1,4}", subscription(), 0..3);
    let parts = (mesh(), vec(subscription(), 0..6), of_sources, vec(link(), 0..4));
    parts.prop_map(|(mut mesh, nodes, sources, links)| {
        let below: Vec<NodeName> =
            mesh.nodes.keys().filter(|node| node.as_str() != "hq").cloned().collect();
        for (node, profile) in below.iter().zip(links) {
            mesh = mesh.set_link(node, profile).expect("a profile");
        }
        for (node, subscription) in mesh.nodes.values_mut().zip(nodes) {
            node.subscription = subscription;
        }
        let named = |(name, one): (String, _)| (name.parse().expect("a name"), one);
        mesh.source_subscriptions = sources.into_iter().map(named).collect();
        mesh
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let texts = ("[a-z]{1,6}", "[0-9.]{1,5}", "(amd64|arm64|all)", "(main|contrib)");
    let more = (".{0,30}", "(|de|fr-CH)");
    (texts, "pool/[a-z0-9_~+]{1,12}", any::<u64>(), sha256(), more).prop_map(
        |((package, version, architecture, component), filename, length, sha256, more)| Payload {
            package,
            version,
            architecture,
            component,
            filename,
            length,
            sha256,
            control: more.0,
            language: more.1,
            place: None,
        },
    )
}

fn place() -> impl Strategy<Value = Place> {
    let word = || "(|root|33)";
    ("(/[a-z .]{0,6}[a-z]){1,4}", option::of(0..0o10000u32), word(), word())
        .prop_map(|(path, mode, owner, group)| Place { path, mode, owner, group })
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    btree_set("[a-z0-9-]{1,8}", 0..3).prop_map(|set| set.into_iter().collect())
}

fn references() -> impl Strategy<Value = Vec<Reference>> {
    let reference = (revision_id(), any::<bool>()).prop_map(|(id, every)| Reference {
        update: id.update.clone(),
        version: (!every).then_some(id.version.clone()),
    });
    btree_set(reference, 0..3).prop_map(|set| set.into_iter().collect())
}

fn installer() -> impl Strategy<Value = Installer> {
    let codes = || vec(any::<i32>(), 0..3);
    let limit = option::of((1..100_000i64).prop_map(SignedDuration::from_secs));
    let kind = select(InstallerKind::ALL);
    (vec(".{0,9}", 0..3), vec(".{0,9}", 0..3), codes(), codes(), codes(), limit, kind).prop_map(
        |(install, remove, success, reboot, retry, time_limit, kind)| Installer {
            kind,
            install,
            remove,
            success,
            reboot,
            retry,
            time_limit,
        },
    )
}

fn detection() -> impl Strategy<Value = Detection> {
    let rule = || {
        let texts = ["os debian >= 12", "not deb a < 1 or file \"C:/a b\"", "registry K value V"];
        select(texts.to_vec()).prop_map(|text| text.parse::<applicability::Rule>().expect("a rule"))
    };
    (option::of(rule()), rule())
        .prop_map(|(applies, installed)| Detection { applies, installed: Some(installed) })
}

fn facts() -> impl Strategy<Value = Facts> {
    let words = (
        option::of(select(Classification::ALL)),
        option::of(select(Severity::ALL)),
        select(Reboot::ALL),
        any::<bool>(),
    );
    let lists = (texts(), texts(), texts(), texts());
    let told = (option::of(installer()), option::of(detection()));
    (words, lists, references(), references(), told).prop_map(
        |(words, lists, supersedes, prerequisites, (installer, detection))| Facts {
            classification: words.0,
            severity: words.1,
            products: lists.0,
            languages: lists.1,
            cves: lists.2,
            articles: lists.3,
            supersedes,
            prerequisites,
            installer,
            reboot: words.2,
            unsigned: words.3,
            detection,
        },
    )
}

pub(crate) fn revision() -> impl Strategy<Value = Revision> {
    let texts = (".{0,20}", ".{0,40}");
    let architectures = btree_set("[a-z0-9]{1,6}", 0..3);
    let places = vec(place(), 5);
    (revision_id(), texts, architectures, vec(payload(), 0..5), facts(), places).prop_map(
        |(id, (title, description), architectures, mut payloads, mut facts, places)| {
            payloads.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
            if facts.installer.as_ref().is_some_and(|one| one.kind == InstallerKind::Files) {
                // Every other one says nothing of how it is told.
                let states = facts.detection.iter_mut().filter(|_| payloads.len() % 2 == 0);
                states.for_each(|one| one.installed = None);
                let placed = payloads.iter_mut().zip(places);
                placed.for_each(|(payload, place)| payload.place = Some(Box::new(place)));
            }
            let architectures = architectures.into_iter().collect();
            Revision { id, title, description, architectures, payloads, facts }
        },
    )
}

pub(crate) fn catalogue_entry() -> impl Strategy<Value = CatalogueEntry> {
    (document(), time(), any::<u32>(), digest()).prop_map(
        |(document, entered_at, ordinal, fingerprint)| CatalogueEntry {
            document,
            entered_at,
            ordinal,
            fingerprint,
        },
    )
}

pub(crate) fn catalogue() -> impl Strategy<Value = BTreeMap<RevisionId, CatalogueEntry>> {
    btree_map(revision_id(), catalogue_entry(), 0..40)
}

pub(crate) fn bindings() -> impl Strategy<Value = BTreeMap<Sha256, Binding>> {
    let binding = (sha256(), digest(), any::<u64>()).prop_map(|(sha256, blob, length)| Binding {
        sha256,
        blob,
        length,
    });
    vec(binding, 0..2000)
        .prop_map(|bindings| bindings.into_iter().map(|one| (one.sha256, one)).collect())
}

pub(crate) fn approvals() -> impl Strategy<Value = ApprovalSet> {
    let decision =
        prop_oneof![Just(Decision::Declined), rollout_name().prop_map(Decision::Approved)];
    let approval = (decision, "[a-z]{1,8}", time(), ".{0,30}", "[a-z]{0,4}")
        .prop_map(|(decision, by, at, comment, rule)| Approval { decision, by, at, comment, rule });
    (stage(), any::<u64>(), btree_map((revision_id(), group()), approval, 0..60))
        .prop_map(|(stage, version, entries)| ApprovalSet { stage, version, entries })
}

pub(crate) fn views() -> impl Strategy<Value = ViewSet> {
    let set = prop_oneof![
        1 => Just(SetId::UNSTATED),
        3 => any::<[u8; 32]>().prop_map(|bytes| SetId::from(Digest::from_bytes(bytes))),
    ];
    (any::<u64>(), btree_map((stage(), group(), set), document(), 0..6))
        .prop_map(|(version, views)| ViewSet { version, views })
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    let path = || "[a-z]{1,6}(/[a-zA-Z0-9_~+-]{1,8}){0,3}";
    let withheld = (revision_id(), "[a-z]{0,4}", "[a-z]{0,4}")
        .prop_map(|(revision, package, architecture)| Withheld { revision, package, architecture });
    let withheld = btree_map(withheld, "[a-z ]{0,9}", 0..3);
    let pools = (document(), document()).prop_map(|(settled, opening)| Pools { settled, opening });
    (time(), btree_map(path(), document(), 0..6), pools, withheld)
        .prop_map(|(signed_at, files, pools, withheld)| View { signed_at, files, pools, withheld })
}

pub(crate) fn pool() -> impl Strategy<Value = Pool> {
    let file = (sha256(), any::<u64>()).prop_map(|(sha256, length)| PoolFile { sha256, length });
    btree_map("[a-z]{1,6}(/[a-zA-Z0-9_~+-]{1,8}){0,3}", file, 0..40)
}
