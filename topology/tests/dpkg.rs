//! Versions compared as dpkg itself compares them.

use std::cmp::Ordering;
use std::process::Command;

use patchmesh_topology::debian::version::compare;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

/// What `dpkg --compare-versions` says; `None` where there is no dpkg.
fn dpkg(a: &str, b: &str) -> Option<Ordering> {
    for (word, order) in
        [("lt", Ordering::Less), ("eq", Ordering::Equal), ("gt", Ordering::Greater)]
    {
        let status = Command::new("dpkg").args(["--compare-versions", a, word, b]).status().ok()?;
        if status.success() {
            return Some(order);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn versions_compare_as_dpkg_compares_them(
        a in "([0-2]:)?[0-9][0-9a-b~+.]{0,6}(-[0-9a~+.]{1,3})?",
        b in "([0-2]:)?[0-9][0-9a-b~+.]{0,6}(-[0-9a~+.]{1,3})?",
    ) {
        if let Some(expected) = dpkg(&a, &b) {
            prop_assert_eq!(compare(&a, &b), expected, "{} {}", a, b);
        }
    }
}

#[test]
fn near_misses_compare_as_dpkg_compares_them() {
    let versions = [
        "0",
        "0:0",
        "1",
        "1.0",
        "1.0-0",
        "1.0-1",
        "1.0~",
        "1.0~~",
        "1.0~rc1",
        "1.0a",
        "1.0+b1",
        "1.01",
        "1:0",
        "01",
        "1.0-1~bpo12+1",
        "1.0-1+deb12u1",
        "1.00",
        "1.",
        "10",
        "9",
    ];
    for a in versions {
        for b in versions {
            if let Some(expected) = dpkg(a, b) {
                assert_eq!(compare(a, b), expected, "{a} {b}");
            }
        }
    }
}
