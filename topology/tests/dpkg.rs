//! Versions compared as dpkg itself compares them.

use std::cmp::Ordering;
use std::process::Command;

use patchmesh_topology::debian::version::compare;
use proptest::prelude::{ProptestConfig, prop_assert, proptest};

/// Whether `dpkg --compare-versions` agrees; `true` where there is no dpkg.
fn dpkg_agrees(a: &str, b: &str) -> bool {
    let word = match compare(a, b) {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    };
    let status = Command::new("dpkg").args(["--compare-versions", a, word, b]).status();
    status.is_ok_and(|status| status.success())
        || Command::new("dpkg").arg("--version").output().is_err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn versions_compare_as_dpkg_compares_them(
        a in "([0-2]:)?[0-9][0-9a-b~+.]{0,6}(-[0-9a~+.]{1,3})?",
        b in "([0-2]:)?[0-9][0-9a-b~+.]{0,6}(-[0-9a~+.]{1,3})?",
    ) {
        prop_assert!(dpkg_agrees(&a, &b), "{} {}", a, b);
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
            assert!(dpkg_agrees(a, b), "{a} {b}");
        }
    }
}
