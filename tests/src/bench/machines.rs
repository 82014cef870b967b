//! Machines: how long one takes to tell what of the catalogue concerns it.

use std::time::Instant;

use anyhow::{Result, ensure};
use patchmesh_topology::applicability::inventory::{Format, FoundFile, Inventory, Package};
use patchmesh_topology::applicability::{Candidate, Detection, choose};
use patchmesh_topology::debian::Relations;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::revision::{Facts, Payload, Revision};
use patchmesh_topology::supersedence::Entry;

use super::statistics::median;
use super::{Measurement, Scale};

/// The bar.
const MILLISECONDS: f64 = 100.0;

const TURNS: usize = 20;

/// One in so many revisions is no package, but has rules and replaces the one
/// before it.
const RULES: usize = 5;

/// One in so many revisions of packages needs a library that is not on the machine.
const LIBRARIES: usize = 30;

/// What every package says of others, as many as usual; all of it is on the machine.
const DEPENDS: &str = "package-1 (>= 1:2.1-1), package-2, package-3 | debconf-2.0, \
    package-4 (>= 1:2.0), package-6, package-7:any, package-8 (<< 2:0)";

/// machines.5
pub(super) fn applicability(scale: Scale) -> Result<Vec<Measurement>> {
    let (count, packages) = (scale.pick(20_000, 200), scale.pick(3_000, 30));
    let revisions = (0..count).map(revision).collect::<Result<Vec<_>>>()?;
    let machine = machine(packages);
    let candidates: Vec<Candidate<'_>> = revisions
        .iter()
        .map(|revision| Candidate {
            entry: Entry { revision, ordinal: 0 },
            is_offered: true,
            is_bound: true,
        })
        .collect();
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let begun = Instant::now();
        let (choices, order) = choose(&candidates, &machine, &|_| true);
        turns.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(choices.len() == count, "each revision has its verdict");
        // Every second package that is there is older, and of the others the last one contains all.
        ensure!(order.len() > packages / 4, "only {} are to be installed", order.len());
        let brought = choices.iter().filter(|one| !one.needs.is_empty() || one.parts.len() > 1);
        ensure!(brought.count() >= packages / 100, "too few libraries come along");
    }
    let about = format!("{count} revisions compared with a machine of {packages} packages");
    let measured = Measurement::new("machines.5", &about, median(&turns), "ms");
    let note = "half of them replaced at once, seven relations each";
    Ok(vec![measured.turns(TURNS).required_below(MILLISECONDS).note(note)])
}

/// A revision of two packages, or of rules.
fn revision(number: usize) -> Result<Revision> {
    if number.is_multiple_of(RULES) {
        return ruled(number);
    }
    let version = format!("1:2.{number}-1+deb12u3");
    let payload = |package: String, needs: &str| Payload {
        control: format!(
            "Package: {package}\nDepends: {DEPENDS}{needs}\nProvides: {package}-api\n"
        ),
        filename: format!("pool/{package}.deb"),
        package,
        version: version.clone(),
        architecture: "amd64".to_owned(),
        component: "main".to_owned(),
        length: 1,
        sha256: Sha256::from_bytes([0; 32]),
        language: String::new(),
        place: None,
    };
    let library = match number % LIBRARIES {
        2 => format!(", library-{number} (= {version})"),
        _ => String::new(),
    };
    Ok(Revision {
        id: format!("debian:bookworm/source-{number}@1:2.{number}-1+deb12u3").parse()?,
        title: String::new(),
        description: String::new(),
        architectures: vec!["amd64".to_owned()],
        payloads: vec![
            payload(format!("package-{number}"), &library),
            payload(format!("library-{number}"), ""),
        ],
        facts: Facts::default(),
    })
}

fn ruled(number: usize) -> Result<Revision> {
    let applies = Some("os debian >= 12 and not product kiosk".parse()?);
    let installed =
        format!("deb library-1 >= 1:2.{number}-2 or file /opt/{number} >= 2.0.1").parse()?;
    let before = number.saturating_sub(RULES);
    let supersedes = if before == number {
        Vec::new()
    } else {
        vec![format!("vendor:stable/kb-{before}").parse()?]
    };
    let facts = Facts {
        detection: Some(Detection { applies, installed: Some(installed) }),
        supersedes,
        ..Facts::default()
    };
    Ok(Revision {
        id: format!("vendor:stable/kb-{number}@1").parse()?,
        title: String::new(),
        description: String::new(),
        architectures: vec!["all".to_owned()],
        payloads: Vec::new(),
        facts,
    })
}

/// A machine with so many packages, every second older than the revision's.
fn machine(packages: usize) -> Inventory {
    let mut machine = Inventory {
        os: "debian".to_owned(),
        os_version: "12".to_owned(),
        architectures: vec!["amd64".to_owned()],
        products: vec!["debian-12".to_owned()],
        ..Inventory::default()
    };
    let numbers = (0..).filter(|number: &usize| !number.is_multiple_of(RULES));
    for number in numbers.take(packages) {
        let update = if number.is_multiple_of(2) { 2 } else { 3 };
        let package = Package {
            format: Format::Deb,
            architecture: "amd64".to_owned(),
            version: format!("1:2.{number}-1+deb12u{update}"),
            fault: String::new(),
            held: false,
            relations: Relations {
                depends: DEPENDS.to_owned(),
                is_allowed: true,
                ..Relations::default()
            },
        };
        machine.packages.insert(format!("package-{number}"), vec![package]);
    }
    // Where the rules look.
    for number in (0..packages).filter(|number| number.is_multiple_of(RULES)) {
        machine.files.insert(format!("/opt/{number}"), FoundFile::Absent);
    }
    machine
}
