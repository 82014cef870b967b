//! Which payloads stand in which dist, and their stanzas.
//!
//! What always holds: a selection depends on the set of revisions alone, not on
//! their order; a dist names a package, version and architecture once; a stanza
//! is the vendor's text followed by where our file lies and what it hashes to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use patchmesh_topology::revision::{Payload, Revision, RevisionId};

use super::layout;

/// The fields that say where a file lies and what it hashes to: ours to write.
const OUR_FIELDS: [&str; 7] = ["filename", "size", "md5sum", "sha1", "sha256", "sha512", "sha384"];

/// A payload that the view leaves out, and why. Clients don't see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The revision it belongs to.
    pub revision: RevisionId,
    /// The vendor's path of the file.
    pub filename: String,
    /// Why.
    pub reason: Reason,
}

/// Why a payload is left out of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its package or architecture is no name that apt takes.
    Name,
    /// Its control text is no single stanza, is another package's, or has
    /// fields that are ours to write.
    Control,
    /// Another revision brings the same package, version and architecture.
    Twin(RevisionId),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: ", self.filename, self.revision)?;
        match &self.reason {
            Reason::Name => f.write_str("its package or architecture is no name that apt takes"),
            Reason::Control => f.write_str("its control text is not one stanza of this package"),
            Reason::Twin(other) => {
                write!(f, "{other} brings the same package, version and architecture")
            }
        }
    }
}

/// A payload with its place in the pool.
pub(super) struct Entry<'a> {
    revision: &'a RevisionId,
    pub(super) payload: &'a Payload,
    pub(super) path: String,
}

/// The entries of every dist, sorted by package, version and architecture.
pub(super) type Selection<'a> = BTreeMap<String, Vec<Entry<'a>>>;

/// Sorts revisions into dists.
pub(super) fn select<'a>(revisions: &[&'a Revision], left_out: &mut Vec<LeftOut>) -> Selection<'a> {
    let mut dists = Selection::new();
    for revision in revisions {
        let source = &revision.id.update.source;
        let dist = layout::dist_name(source, &revision.id.update.suite);
        let entries = dists.entry(dist).or_default();
        for payload in &revision.payloads {
            match fault(payload) {
                Some(reason) => left_out.push(leave_out(&revision.id, payload, reason)),
                None => entries.push(Entry {
                    revision: &revision.id,
                    payload,
                    path: layout::pool_path(source, payload),
                }),
            }
        }
    }
    for entries in dists.values_mut() {
        entries.sort_by(|a, b| identity(a).cmp(&identity(b)).then_with(|| precedence(a, b)));
        drop_twins(entries, left_out);
    }
    left_out.sort_by(|a, b| (&a.revision, &a.filename).cmp(&(&b.revision, &b.filename)));
    dists
}

fn identity<'e>(entry: &'e Entry<'_>) -> [&'e str; 3] {
    let payload = entry.payload;
    [&payload.package, &payload.version, &payload.architecture]
}

/// Of twins the vendor's last release stands first, then the first source by name.
fn precedence(a: &Entry<'_>, b: &Entry<'_>) -> std::cmp::Ordering {
    b.revision
        .release
        .cmp(&a.revision.release)
        .then_with(|| a.revision.cmp(b.revision))
        .then_with(|| a.payload.sha256.cmp(&b.payload.sha256))
}

fn drop_twins(entries: &mut Vec<Entry<'_>>, left_out: &mut Vec<LeftOut>) {
    entries.dedup_by(|later, kept| {
        let twins = identity(later) == identity(kept);
        // The same file in two revisions of one update is nothing to tell.
        if twins && later.payload.sha256 != kept.payload.sha256 {
            let reason = Reason::Twin(kept.revision.clone());
            left_out.push(leave_out(later.revision, later.payload, reason));
        }
        twins
    });
}

fn leave_out(revision: &RevisionId, payload: &Payload, reason: Reason) -> LeftOut {
    LeftOut { revision: revision.clone(), filename: payload.filename.clone(), reason }
}

fn fault(payload: &Payload) -> Option<Reason> {
    if !layout::is_package(&payload.package) || !layout::is_architecture(&payload.architecture) {
        return Some(Reason::Name);
    }
    let mut package = None;
    for line in payload.control.trim_end_matches('\n').split('\n') {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            continue;
        }
        let Some((field, value)) = line.split_once(':') else { return Some(Reason::Control) };
        if OUR_FIELDS.iter().any(|ours| field.eq_ignore_ascii_case(ours)) {
            return Some(Reason::Control);
        }
        if field.eq_ignore_ascii_case("package") {
            package = Some(value.trim());
        }
    }
    (package != Some(payload.package.as_str())).then_some(Reason::Control)
}

/// The architectures that need an index: those of the entries and those kept.
/// Packages for `all` stand in every index, as in Debian; only a dist that has
/// no other gets an index of its own for them.
pub(super) fn architectures(
    entries: &[&[Entry<'_>]],
    keep: Option<&BTreeSet<String>>,
) -> BTreeSet<String> {
    let found =
        entries.iter().flat_map(|list| list.iter()).map(|e| e.payload.architecture.as_str());
    let kept = keep.into_iter().flatten().map(String::as_str);
    let kept = kept.filter(|name| layout::is_architecture(name));
    let mut all: BTreeSet<&str> = found.chain(kept).collect();
    if all.len() > 1 {
        all.remove("all");
    }
    all.into_iter().map(str::to_owned).collect()
}

/// Whether the index of `architecture` lists this entry.
pub(super) fn belongs(entry: &Entry<'_>, architecture: &str) -> bool {
    let own = entry.payload.architecture.as_str();
    own == architecture || own == "all"
}

/// Writes an entry's stanza and the empty line behind it.
pub(super) fn write_stanza(entry: &Entry<'_>, out: &mut String) {
    out.push_str(entry.payload.control.trim_end_matches('\n'));
    let Payload { length, sha256, .. } = entry.payload;
    // Writing to a String cannot fail.
    let _ = write!(out, "\nFilename: {}\nSize: {length}\nSHA256: {sha256}\n\n", entry.path);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use patchmesh_topology::digest::Sha256;

    /// A revision with one payload for each architecture given.
    pub(in crate::view::apt) fn revision(id: &str, architectures: &[&str]) -> Revision {
        let id: RevisionId = id.parse().unwrap();
        let payload = |architecture: &&str| Payload {
            package: id.update.name.clone(),
            version: id.version.clone(),
            architecture: (*architecture).to_owned(),
            component: "main".to_owned(),
            filename: format!("pool/{}_{architecture}.deb", id.update.name),
            length: 4,
            sha256: Sha256::from_bytes(
                *blake3::hash(format!("{id}{architecture}").as_bytes()).as_bytes(),
            ),
            control: format!(
                "Package: {}\nVersion: {}\nArchitecture: {architecture}\nDescription: x\n  more\n",
                id.update.name, id.version
            ),
            language: String::new(),
            place: None,
        };
        Revision {
            title: id.to_string(),
            description: String::new(),
            architectures: architectures.iter().map(ToString::to_string).collect(),
            payloads: architectures.iter().map(payload).collect(),
            facts: patchmesh_topology::revision::Facts::default(),
            id,
        }
    }

    fn texts(revisions: &[&Revision]) -> (String, Vec<LeftOut>) {
        let mut left_out = Vec::new();
        let mut text = String::new();
        for (dist, entries) in select(revisions, &mut left_out) {
            text.push_str(&dist);
            text.push('\n');
            entries.iter().for_each(|entry| write_stanza(entry, &mut text));
        }
        (text, left_out)
    }

    #[test]
    fn the_order_of_revisions_does_not_count() {
        let a = revision("s:bookworm/a@1", &["amd64", "all"]);
        let b = revision("s:bookworm/b@2", &["amd64"]);
        let c = revision("t:trixie/b@2", &["arm64"]);
        assert_eq!(texts(&[&a, &b, &c]), texts(&[&c, &b, &a]));
    }

    #[test]
    fn a_stanza_is_the_vendors_text_and_our_fields() {
        let a = revision("s:bookworm/a@1", &["amd64"]);
        let sha256 = a.payloads[0].sha256;
        let short = &sha256.to_string()[..16];
        let expected = format!(
            "bookworm\nPackage: a\nVersion: 1\nArchitecture: amd64\nDescription: x\n  more\n\
             Filename: pool/s/main/a/{short}/a_amd64.deb\nSize: 4\nSHA256: {sha256}\n\n"
        );
        assert_eq!(texts(&[&a]), (expected, Vec::new()));
    }

    #[test]
    fn of_twins_the_last_release_stays_then_the_first_source() {
        let first = revision("s:bookworm/a@1", &["amd64"]);
        let again = revision("s:bookworm/a@1#2", &["amd64"]);
        let other = revision("r:bookworm/a@1", &["amd64"]);
        let (text, left_out) = texts(&[&first, &other, &again]);
        assert!(text.contains(&again.payloads[0].sha256.to_string()));
        assert_eq!(text.matches("Package:").count(), 1);
        let reasons: Vec<_> = left_out.iter().map(|out| (&out.revision, &out.reason)).collect();
        let twin = Reason::Twin(again.id.clone());
        assert_eq!(reasons, [(&other.id, &twin), (&first.id, &twin)]);
    }

    #[test]
    fn leaves_out_what_apt_could_misread() {
        let good = revision("s:bookworm/a@1", &["amd64"]);
        let with = |change: fn(&mut Payload)| {
            let mut revision = good.clone();
            change(&mut revision.payloads[0]);
            let (text, left_out) = texts(&[&revision]);
            (text, left_out.into_iter().map(|out| out.reason).collect::<Vec<_>>())
        };
        let empty = "bookworm\n".to_owned();
        for change in [
            |p: &mut Payload| p.control.push_str("\nPackage: evil\n"),
            |p: &mut Payload| p.control.push_str("Filename: x\n"),
            |p: &mut Payload| p.control.push_str("no field\n"),
            |p: &mut Payload| p.control.push_str(" \n x"),
            |p: &mut Payload| p.control = String::new(),
            |p: &mut Payload| p.control = p.control.replace("Package: a", "Package: b"),
        ] {
            assert_eq!(with(change), (empty.clone(), vec![Reason::Control]));
        }
        let change = |p: &mut Payload| p.architecture = "../x".to_owned();
        assert_eq!(with(change), (empty, vec![Reason::Name]));
    }

    #[test]
    fn packages_for_all_need_no_index_of_their_own_beside_others() {
        let a = revision("s:bookworm/a@1", &["amd64", "all"]);
        let b = revision("s:trixie/b@1", &["all"]);
        let mut left_out = Vec::new();
        let dists = select(&[&a, &b], &mut left_out);
        let keep = BTreeSet::from(["arm64".to_owned(), "../x".to_owned()]);
        let names = |dist: &str, keep| {
            architectures(&[&dists[dist]], keep).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("bookworm", Some(&keep)), "amd64 arm64");
        assert_eq!(names("trixie", None), "all");
        assert_eq!(names("trixie", Some(&keep)), "arm64");
        assert!(belongs(&dists["bookworm"][0], "arm64"));
    }
}
