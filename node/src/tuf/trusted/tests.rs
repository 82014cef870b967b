//! Every attack that the framework is for, against the checks alone.

use super::*;
use crate::tuf::envelope::sign;
use crate::tuf::fixture::{Files, Keys, days, header, holders, meta, now, path, public, role};
use crate::tuf::signing::SigningKey;

fn bootstrap(keys: &Keys) -> TrustedMetadata {
    TrustedMetadata::bootstrap(&keys.sign_root(1, days(300)), now()).unwrap()
}

/// Everything up to the snapshot of `files`.
fn with_snapshot(keys: &Keys, files: &Files) -> TrustedMetadata {
    let mut trusted = bootstrap(keys);
    trusted.update_timestamp(&files.timestamp).unwrap();
    trusted.update_snapshot(&files.snapshot).unwrap();
    trusted
}

fn update_targets(trusted: &mut TrustedMetadata, bytes: &[u8]) -> Result<(), Error> {
    trusted.update_targets(&RoleName::TARGETS, &RoleName::ROOT, bytes)
}

#[test]
fn an_honest_repository_is_trusted() {
    let keys = Keys::new();
    let files = Files::new(&keys, 4);
    let mut trusted = with_snapshot(&keys, &files);
    update_targets(&mut trusted, &files.targets).unwrap();
    assert_eq!(trusted.snapshot_version(), Some(4));
    assert_eq!(trusted.all_targets().count(), 1);
    let (found, file) = trusted.find(&path("a"), 8).unwrap().unwrap();
    assert_eq!((found, file.length), (RoleName::TARGETS, 1));
    assert!(trusted.find(&path("b"), 8).unwrap().is_none());
}

#[test]
fn steps_out_of_order_are_refused() {
    let keys = Keys::new();
    let files = Files::new(&keys, 1);
    let mut trusted = bootstrap(&keys);
    assert!(matches!(trusted.update_snapshot(&files.snapshot), Err(Error::OutOfOrder { .. })));
    assert!(matches!(update_targets(&mut trusted, &files.targets), Err(Error::OutOfOrder { .. })));
    assert!(matches!(trusted.find(&path("a"), 8), Err(Error::OutOfOrder { .. })));
    trusted.update_timestamp(&files.timestamp).unwrap();
    let root = keys.sign_root(2, days(1));
    assert!(matches!(trusted.update_root(&root), Err(Error::OutOfOrder { .. })));
    trusted.update_snapshot(&files.snapshot).unwrap();
    assert!(matches!(trusted.update_timestamp(&files.timestamp), Err(Error::OutOfOrder { .. })));
    update_targets(&mut trusted, &files.targets).unwrap();
    assert!(matches!(trusted.update_snapshot(&files.snapshot), Err(Error::OutOfOrder { .. })));
}

#[test]
fn a_root_that_did_not_sign_itself_is_no_start() {
    let keys = Keys::new();
    let bytes = sign(&keys.root(1, days(1)), &[&keys.timestamp]).unwrap();
    assert!(matches!(TrustedMetadata::bootstrap(&bytes, now()), Err(Error::Unsigned { .. })));
    assert!(matches!(TrustedMetadata::bootstrap(b"no json", now()), Err(Error::Unreadable { .. })));
}

#[test]
fn a_new_root_needs_old_and_new_holders() {
    let (keys, other) = (Keys::new(), Keys::new());
    let next = other.root(2, days(300));
    for (signers, accepted) in [
        (vec![&other.root], false),
        (vec![&keys.root], false),
        (vec![&keys.root, &other.root], true),
    ] {
        let mut trusted = bootstrap(&keys);
        let updated = trusted.update_root(&sign(&next, &signers).unwrap());
        assert_eq!(updated.is_ok(), accepted, "{updated:?}");
        assert_eq!(trusted.root().header.version(), if accepted { 2 } else { 1 });
    }
}

#[test]
fn roots_follow_one_by_one() {
    let keys = Keys::new();
    let mut trusted = bootstrap(&keys);
    for version in [1, 3] {
        let skipped = trusted.update_root(&keys.sign_root(version, days(300)));
        assert!(matches!(skipped, Err(Error::Version { expected: 2, .. })));
    }
    trusted.update_root(&keys.sign_root(2, days(300))).unwrap();
}

#[test]
fn an_expired_root_counts_only_in_between() {
    let keys = Keys::new();
    let files = Files::new(&keys, 1);
    let mut trusted = TrustedMetadata::bootstrap(&keys.sign_root(1, days(-9)), now()).unwrap();
    trusted.update_root(&keys.sign_root(2, days(-1))).unwrap();
    assert!(matches!(trusted.check_root(), Err(Error::Expired { .. })));
    assert!(matches!(trusted.update_timestamp(&files.timestamp), Err(Error::Expired { .. })));
    trusted.update_root(&keys.sign_root(3, days(1))).unwrap();
    trusted.update_timestamp(&files.timestamp).unwrap();
}

#[test]
fn arbitrary_software_is_refused_at_every_role() {
    let (keys, attacker) = (Keys::new(), Keys::new());
    let (files, forged) = (Files::new(&keys, 2), Files::new(&attacker, 2));
    let mut trusted = bootstrap(&keys);
    assert!(matches!(trusted.update_timestamp(&forged.timestamp), Err(Error::Unsigned { .. })));
    // The timestamp's holder alone can't make a snapshot, nor can both make targets.
    let lying = keys.sign_timestamp(2, days(1), meta(2, &forged.snapshot));
    trusted.update_timestamp(&lying).unwrap();
    assert!(matches!(trusted.update_snapshot(&forged.snapshot), Err(Error::Unsigned { .. })));

    let lying = keys.sign_snapshot(2, days(1), &[("targets", meta(2, &forged.targets))]);
    let timestamp = keys.sign_timestamp(2, days(1), meta(2, &lying));
    let mut trusted = with_snapshot(&keys, &Files { snapshot: lying, timestamp, ..files });
    assert!(matches!(update_targets(&mut trusted, &forged.targets), Err(Error::Unsigned { .. })));
}

#[test]
fn the_right_key_in_the_wrong_role_counts_for_nothing() {
    let keys = Keys::new();
    let header = header::<Timestamp>(1, days(1));
    let snapshot = meta(1, b"");
    let document = Timestamp { header, meta: super::super::metadata::TimestampMeta { snapshot } };
    let bytes = sign(&document, &[&keys.root, &keys.snapshot, &keys.targets]).unwrap();
    assert!(matches!(bootstrap(&keys).update_timestamp(&bytes), Err(Error::Unsigned { .. })));
}

#[test]
fn a_threshold_can_not_be_reached_by_one_key() {
    let keys = Keys::new();
    let second = SigningKey::generate().unwrap();
    let mut root = keys.root(1, days(1));
    root.keys.extend(public(&[&second]));
    root.roles.timestamp = holders(&[&keys.timestamp, &second], 2);
    let root = sign(&root, &[&keys.root]).unwrap();
    let alone = Files::new(&keys, 1).timestamp;
    let mut trusted = TrustedMetadata::bootstrap(&root, now()).unwrap();
    let refused = trusted.update_timestamp(&alone).unwrap_err();
    assert!(matches!(&refused, Error::Unsigned { source, .. } if source.valid == 1), "{refused}");
}

#[test]
fn a_freeze_is_noticed_at_every_role() {
    let keys = Keys::new();
    let files = Files::new(&keys, 1);
    let mut trusted = bootstrap(&keys);
    let old = keys.sign_timestamp(1, days(0), meta(1, &files.snapshot));
    assert!(matches!(trusted.update_timestamp(&old), Err(Error::Expired { .. })));
    assert!(trusted.timestamp().is_none());

    let old = keys.sign_snapshot(1, days(-1), &[("targets", meta(1, &files.targets))]);
    trusted.update_timestamp(&keys.sign_timestamp(1, days(1), meta(1, &old))).unwrap();
    assert!(matches!(trusted.update_snapshot(&old), Err(Error::Expired { .. })));

    let mut expired = keys.targets(1, &[], &[]);
    expired.header = header::<Targets>(1, days(-1));
    let expired = sign(&expired, &[&keys.targets]).unwrap();
    let snapshot = keys.sign_snapshot(1, days(1), &[("targets", meta(1, &expired))]);
    let timestamp = keys.sign_timestamp(1, days(1), meta(1, &snapshot));
    let mut trusted = with_snapshot(&keys, &Files { snapshot, timestamp, ..files });
    assert!(matches!(update_targets(&mut trusted, &expired), Err(Error::Expired { .. })));
}

#[test]
fn the_same_timestamp_again_is_no_news_until_it_expires() {
    let keys = Keys::new();
    let files = Files::new(&keys, 3);
    let mut trusted = bootstrap(&keys);
    trusted.load_timestamp(&files.timestamp).unwrap();
    // Whatever else it says, version 3 is known.
    let other = keys.sign_timestamp(3, days(9), meta(100, b""));
    assert_eq!(trusted.update_timestamp(&other).unwrap(), Offered::Known);
    assert_eq!(trusted.timestamp().unwrap().meta.snapshot.version(), 3);

    let mut later = TrustedMetadata::bootstrap(&keys.sign_root(1, days(300)), days(31)).unwrap();
    later.load_timestamp(&files.timestamp).unwrap();
    assert!(matches!(later.update_timestamp(&files.timestamp), Err(Error::Expired { .. })));
}

#[test]
fn an_expired_timestamp_still_guards_against_rollback() {
    let keys = Keys::new();
    let mut trusted = bootstrap(&keys);
    trusted.load_timestamp(&keys.sign_timestamp(5, days(-1), meta(5, b""))).unwrap();
    for (timestamp, snapshot) in [(4, 5), (6, 4)] {
        let offered = keys.sign_timestamp(timestamp, days(1), meta(snapshot, b""));
        assert!(matches!(trusted.update_timestamp(&offered), Err(Error::Rollback { .. })));
    }
    assert_eq!(
        trusted.update_timestamp(&keys.sign_timestamp(6, days(1), meta(5, b""))).unwrap(),
        Offered::New
    );
}

#[test]
fn a_snapshot_may_not_go_back_or_drop_a_role() {
    let keys = Keys::new();
    let known = [("targets", meta(3, b"t")), ("a", meta(7, b"a"))];
    let before = keys.sign_snapshot(3, days(-1), &known);
    let offer = |files: &[(&str, MetaFile)]| {
        let snapshot = keys.sign_snapshot(4, days(1), files);
        let mut trusted = bootstrap(&keys);
        trusted.update_timestamp(&keys.sign_timestamp(4, days(1), meta(4, &snapshot))).unwrap();
        assert!(
            !trusted.load_snapshot(&before).unwrap(),
            "an older snapshot is not the current one"
        );
        assert_eq!(trusted.snapshot_version(), None);
        trusted.update_snapshot(&snapshot)
    };
    offer(&[("targets", meta(3, b"t")), ("a", meta(7, b"a")), ("b", meta(1, b"b"))]).unwrap();
    assert!(matches!(offer(&known[..1]), Err(Error::Removed { file }) if file == "a.json"));
    let back = offer(&[known[0].clone(), ("a", meta(6, b"a"))]).unwrap_err();
    assert!(
        matches!(&back, Error::Rollback { role, trusted: 7, offered: 6 } if role.as_str() == "a"),
        "{back}"
    );
}

#[test]
fn after_a_change_of_keys_old_metadata_holds_nothing_back() {
    let (keys, fresh) = (Keys::new(), Keys::new());
    let forged = Files::new(&keys, 1_000_000);
    let mut root = fresh.root(2, days(300));
    root.roles.root = holders(&[&keys.root], 1);
    root.keys.extend(public(&[&keys.root]));
    let mut trusted = bootstrap(&keys);
    trusted.update_root(&sign(&root, &[&keys.root]).unwrap()).unwrap();
    assert!(matches!(trusted.load_timestamp(&forged.timestamp), Err(Error::Unsigned { .. })));
    let recovered = Files::new(&fresh, 2);
    trusted.update_timestamp(&recovered.timestamp).unwrap();
    assert!(matches!(trusted.load_snapshot(&forged.snapshot), Err(Error::Unsigned { .. })));
    trusted.update_snapshot(&recovered.snapshot).unwrap();
    update_targets(&mut trusted, &recovered.targets).unwrap();
}

#[test]
fn mixing_files_of_different_times_is_refused() {
    let keys = Keys::new();
    let (old, new) = (Files::new(&keys, 1), Files::new(&keys, 2));
    let mut trusted = bootstrap(&keys);
    trusted.update_timestamp(&new.timestamp).unwrap();
    assert!(matches!(trusted.update_snapshot(&old.snapshot), Err(Error::Mismatch { .. })));
    trusted.update_snapshot(&new.snapshot).unwrap();
    assert!(matches!(update_targets(&mut trusted, &old.targets), Err(Error::Mismatch { .. })));
    update_targets(&mut trusted, &new.targets).unwrap();
}

#[test]
fn versions_must_match_even_without_digests() {
    let keys = Keys::new();
    let files = Files::new(&keys, 2);
    let bare = |version: u64| {
        serde_json::from_value::<MetaFile>(serde_json::json!({ "version": version })).unwrap()
    };
    let mut trusted = bootstrap(&keys);
    trusted.update_timestamp(&keys.sign_timestamp(2, days(1), bare(3))).unwrap();
    assert!(matches!(
        trusted.update_snapshot(&files.snapshot),
        Err(Error::Version { expected: 3, found: 2, .. })
    ));

    let snapshot = keys.sign_snapshot(2, days(1), &[("targets", bare(3))]);
    let timestamp = keys.sign_timestamp(2, days(1), bare(2));
    let targets = files.targets.clone();
    let mut trusted = with_snapshot(&keys, &Files { snapshot, timestamp, ..files });
    assert!(matches!(
        update_targets(&mut trusted, &targets),
        Err(Error::Version { expected: 3, found: 2, .. })
    ));
}

#[test]
fn a_stored_snapshot_of_another_content_is_not_current() {
    let keys = Keys::new();
    let files = Files::new(&keys, 2);
    let other = keys.sign_snapshot(2, days(9), &[("targets", meta(1, b""))]);
    let mut trusted = bootstrap(&keys);
    trusted.update_timestamp(&files.timestamp).unwrap();
    assert!(!trusted.load_snapshot(&other).unwrap());
    trusted.update_snapshot(&files.snapshot).unwrap();
    assert!(bootstrapped(&keys, &files).load_snapshot(&files.snapshot).unwrap());
}

fn bootstrapped(keys: &Keys, files: &Files) -> TrustedMetadata {
    let mut trusted = bootstrap(keys);
    trusted.update_timestamp(&files.timestamp).unwrap();
    trusted
}

#[test]
fn a_delegated_role_is_trusted_by_each_delegator_alone() {
    let keys = Keys::new();
    let sign_by = |document: &Targets, key: &SigningKey| sign(document, &[key]).unwrap();
    let top = sign_by(&keys.targets(1, &[], &[("a", "*"), ("b", "*")]), &keys.targets);
    let leaf = sign_by(&keys.targets(1, &[("x", b"x")], &[]), &keys.delegated);
    let a = sign_by(&keys.targets(1, &[], &[("leaf", "*")]), &keys.delegated);
    // b delegates the same role to a key that did not sign it.
    let mut b = keys.targets(1, &[], &[("leaf", "*")]);
    b.delegations = Keys::new().targets(1, &[], &[("leaf", "*")]).delegations;
    let b = sign_by(&b, &keys.delegated);

    let files = [("targets", &top), ("a", &a), ("b", &b), ("leaf", &leaf)];
    let listed = files.map(|(name, bytes)| (name, meta(1, bytes)));
    let snapshot = keys.sign_snapshot(1, days(1), &listed);
    let timestamp = keys.sign_timestamp(1, days(1), meta(1, &snapshot));
    let mut trusted = with_snapshot(&keys, &Files { targets: Vec::new(), snapshot, timestamp });
    let (role_a, role_b, role_leaf) = (role("a"), role("b"), role("leaf"));

    assert!(matches!(
        trusted.update_targets(&role_a, &RoleName::TARGETS, &a),
        Err(Error::NotDelegated { .. })
    ));
    update_targets(&mut trusted, &top).unwrap();
    trusted.update_targets(&role_a, &RoleName::TARGETS, &a).unwrap();
    trusted.update_targets(&role_b, &RoleName::TARGETS, &b).unwrap();
    assert!(matches!(
        trusted.update_targets(&role_leaf, &RoleName::ROOT, &leaf),
        Err(Error::NotDelegated { .. })
    ));
    assert!(!trusted.confirm_targets(&role_leaf, &role_a).unwrap());
    trusted.update_targets(&role_leaf, &role_a, &leaf).unwrap();
    assert!(trusted.confirm_targets(&role_leaf, &role_a).unwrap());
    assert!(matches!(trusted.confirm_targets(&role_leaf, &role_b), Err(Error::Unsigned { .. })));
    assert!(trusted.targets_by(&role_leaf, &role_b).is_none());
    assert!(matches!(trusted.announced(&role("unlisted")), Err(Error::NotInSnapshot { .. })));
}
