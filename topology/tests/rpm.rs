//! Versions compared as rpm itself compares them: thousands of pairs in one
//! call. Needs the package `rpm`; without it the test says so and checks nothing.

use std::cmp::Ordering;
use std::io::Write;
use std::process::{Command, Stdio};

use patchmesh_topology::rpm::version::compare;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

/// Pairs of generated versions.
const PAIRS: usize = 5000;

/// Reads pairs from the standard input, and prints how they stand.
const SCRIPT: &str = r#"%{lua:
for line in io.lines("/dev/stdin") do
    local a, b = line:match("^(%S+) (%S+)$")
    print(rpm.vercmp(a, b) .. "\n")
end}"#;

/// What rpm says of each pair; `None` where there is no rpm.
fn rpm(pairs: &[(String, String)]) -> Option<Vec<Ordering>> {
    let mut child = Command::new("rpm")
        .args(["--eval", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().expect("a pipe");
    let text: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("rpm runs");
    writer.join().expect("a thread").expect("written");
    let text = String::from_utf8(output.stdout).expect("text");
    let read = |word: &str| word.parse::<i32>().expect("a number").cmp(&0);
    Some(text.split_whitespace().map(read).collect())
}

fn check(pairs: &[(String, String)]) {
    let Some(expected) = rpm(pairs) else {
        eprintln!("skipped: there is no rpm here; deploy/setup installs it");
        return;
    };
    assert_eq!(expected.len(), pairs.len(), "rpm answered for each pair");
    let wrong: Vec<_> = pairs
        .iter()
        .zip(&expected)
        .filter(|((a, b), expected)| compare(a, b) != **expected)
        .take(5)
        .collect();
    assert!(wrong.is_empty(), "rpm says otherwise: {wrong:?}");
}

#[test]
fn versions_compare_as_rpm_compares_them() {
    // Many that are nearly alike: random texts differ at once.
    let part = "([0-2]:)?[0-9][0-9a-b~^._+]{0,5}(-[0-9][0-9a~^.]{0,2})?";
    let end = "[0-9a-b~^._+]{0,3}";
    let strategy = (part, part, end, proptest::bool::ANY).prop_map(|(a, b, end, alike)| {
        let other = if alike { format!("{a}{end}") } else { b };
        (a, other)
    });
    let mut runner = TestRunner::new(Config::default());
    let pairs: Vec<_> =
        (0..PAIRS).map(|_| strategy.new_tree(&mut runner).expect("a pair").current()).collect();
    check(&pairs);
}

#[test]
fn near_misses_compare_as_rpm_compares_them() {
    let versions = [
        "0",
        "0:0",
        "1",
        "1.0",
        "1.0-0",
        "1.0-1",
        "1.0~",
        "1.0~~",
        "1.0^",
        "1.0^^",
        "1.0~^",
        "1.0^~",
        "1.0~rc1",
        "1.0a",
        "1.0.a",
        "1.0+b1",
        "1.01",
        "1:0",
        "01",
        "1.0-1.el9",
        "1.0-1.el9_2",
        "1.",
        "10",
        "9",
        "a",
        "1a1",
        "1.a.1",
        "2^20200101git",
        "2^20200101git-1",
    ];
    let pairs: Vec<_> = versions
        .iter()
        .flat_map(|a| versions.iter().map(move |b| ((*a).to_owned(), (*b).to_owned())))
        .collect();
    check(&pairs);
}
