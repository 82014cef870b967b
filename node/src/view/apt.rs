//! apt repositories out of what is open.
//!
//! [`Builder::build`] turns sets of revisions into the index files and the pool
//! of one view. Equal sets give equal index bytes, whoever builds them and in
//! whatever order; only the `Release` files carry the time. Nothing here depends
//! on the group, so groups with equal sets can share a view.
//!
//! ```text
//! dists/DIST/{InRelease,Release,Release.gpg}
//! dists/DIST/{settled,opening}/binary-ARCH/Packages{,.gz,.xz}
//! dists/DIST/{settled,opening}/binary-ARCH/by-hash/SHA256/HASH
//! pool/SOURCE/COMPONENT/PREFIX/HASH/FILE.deb
//! ```
//!
//! `settled` holds what has been open for long, `opening` what was opened lately
//! ([`patchmesh_topology::view::divide`]); the second is small, so that most
//! changes touch small indices.
//!
//! Format: <https://wiki.debian.org/DebianRepository/Format>.

mod index;
mod layout;
mod packages;
mod release;
mod xz;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{DocumentRef, Revision};
use patchmesh_topology::view::{Pool, PoolFile, Pools, View, Withheld};

use super::Dists;
use crate::openpgp::{self, SigningKey};
use index::{Chunks, Form, IndexWriter};
use packages::{Entry, Selection};

pub use layout::dist_name;
pub use packages::{LeftOut, Reason};
pub use release::{MAX_AHEAD, RESIGN_AFTER, VALID_FOR};

/// The components of every dist, in the order that `Release` lists them.
pub const COMPONENTS: [&str; 2] = ["settled", "opening"];

/// What a view is built from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The mesh's name, which clients see as `Label`.
    pub mesh: &'a str,
    /// The stage, which clients see in `Description`.
    pub stage: Stage,
    /// Open for long, in any order.
    pub settled: &'a [&'a Revision],
    /// Opened lately, in any order.
    pub opening: &'a [&'a Revision],
    /// Dists and architectures to have even if nothing is open in them: those of
    /// the previous view ([`super::dists`]) and of the sources.
    pub keep: &'a Dists,
    /// Payloads that an architecture's index must not list.
    pub hidden: &'a BTreeSet<(String, Sha256)>,
    /// The primary's clock.
    pub now: Timestamp,
    /// When it opens; before, it is served to nobody. Not later than `now`: at once.
    pub opens: Timestamp,
    /// When the previous view of this stage and group was signed.
    pub previous: Option<Timestamp>,
}

/// A view in the making, with the bytes of its index files.
#[derive(Debug)]
pub struct Built {
    /// When it is signed.
    pub signed_at: Timestamp,
    /// Its index files by path: the blobs below.
    pub files: BTreeMap<String, DocumentRef>,
    /// Index files by digest; those of equal content are one.
    pub blobs: BTreeMap<Digest, Bytes>,
    /// The files that machines install.
    pub pools: Pools<Pool>,
    /// Payloads that could not be taken in, sorted. An operator should know.
    pub left_out: Vec<LeftOut>,
}

impl Built {
    /// The view, and every document that it leads to.
    #[must_use]
    pub fn finish(self, withheld: BTreeMap<Withheld, String>) -> (View, Vec<(DocumentRef, Bytes)>) {
        let [settled, opening] =
            [&self.pools.settled, &self.pools.opening].map(patchmesh_proto::set::cut_pool);
        let pools = Pools { settled: settled.reference(), opening: opening.reference() };
        let blobs = self.blobs.into_iter();
        let mut documents: Vec<_> = blobs
            .map(|(digest, bytes)| (DocumentRef { digest, length: bytes.len() as u64 }, bytes))
            .collect();
        for cut in [settled, opening] {
            documents.push((cut.reference(), cut.index));
            documents.extend(cut.partitions);
        }
        (View { signed_at: self.signed_at, files: self.files, pools, withheld }, documents)
    }
}

/// Why a view cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compressor failed, for lack of memory.
    #[error("cannot compress the index of {dist}, {component}, {architecture}")]
    Compress {
        /// The dist.
        dist: String,
        /// The component.
        component: &'static str,
        /// The architecture.
        architecture: String,
        /// What the compressor said.
        source: std::io::Error,
    },
    /// The repository key failed.
    #[error("cannot sign the Release file of {dist}")]
    Sign {
        /// The dist.
        dist: String,
        /// What the signer said.
        source: openpgp::Error,
    },
}

/// Builds views, and remembers compressed parts of those built before.
#[derive(Debug, Default)]
pub struct Builder {
    chunks: Chunks,
}

impl Builder {
    /// A builder that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds one view and signs it with the stage's repository key.
    ///
    /// Takes milliseconds for hundreds of packages, mostly for compressing what
    /// has changed; call it off the async threads.
    pub fn build(&mut self, input: &Input<'_>, key: &SigningKey) -> Result<Built, Error> {
        self.chunks.begin_build();
        let mut left_out = Vec::new();
        let selections =
            [input.settled, input.opening].map(|open| packages::select(open, &mut left_out));
        let mut files = Files::default();
        let signed_at = release::signing_time(input.now.max(input.opens), input.previous);
        let kept = input.keep.keys().filter(|dist| layout::is_dist(dist));
        let dists: BTreeSet<&String> =
            selections.iter().flat_map(Selection::keys).chain(kept).collect();
        for dist in dists {
            let text = self.dist(input, dist, &selections, signed_at, &mut files)?;
            // The signature is made now, even where the date runs ahead.
            sign(dist, text, key, input.now.min(signed_at), &mut files)?;
        }
        let [settled, opening] = selections.each_ref().map(|one| pool(one, input.hidden));
        let pools = Pools { settled, opening };
        Ok(Built { signed_at, files: files.paths, blobs: files.blobs, pools, left_out })
    }

    /// Writes the indices of one dist and returns its `Release` text.
    fn dist(
        &mut self,
        input: &Input<'_>,
        dist: &str,
        selections: &[Selection<'_>; 2],
        signed_at: Timestamp,
        files: &mut Files,
    ) -> Result<String, Error> {
        let entries = selections
            .each_ref()
            .map(|selection| selection.get(dist).map(Vec::as_slice).unwrap_or_default());
        let architectures = packages::architectures(&entries, input.keep.get(dist));
        let mut listed = Vec::new();
        for (component, entries) in COMPONENTS.into_iter().zip(entries) {
            for architecture in &architectures {
                let forms = self.index(entries, architecture, input.hidden).map_err(|source| {
                    Error::Compress {
                        dist: dist.to_owned(),
                        component,
                        architecture: architecture.clone(),
                        source,
                    }
                })?;
                let folder = format!("{component}/binary-{architecture}");
                for form in forms {
                    listed.push((
                        form.sha256,
                        form.length,
                        format!("{folder}/Packages{}", form.suffix),
                    ));
                    files.add_index(dist, &folder, form);
                }
            }
        }
        Ok(release::Release {
            mesh: input.mesh,
            stage: input.stage,
            dist,
            date: signed_at,
            architectures: &architectures,
            components: &COMPONENTS,
            files: &listed,
        }
        .text())
    }

    fn index(
        &mut self,
        entries: &[Entry<'_>],
        architecture: &str,
        hidden: &BTreeSet<(String, Sha256)>,
    ) -> std::io::Result<[Form; 3]> {
        let hidden: BTreeSet<&Sha256> = hidden
            .iter()
            .filter(|(name, _)| name == architecture)
            .map(|(_, payload)| payload)
            .collect();
        let mut index = IndexWriter::new(&mut self.chunks);
        for entry in entries
            .iter()
            .filter(|entry| packages::belongs(entry, architecture))
            .filter(|entry| !hidden.contains(&entry.payload.sha256))
        {
            index.stanza(&entry.payload.package, |out| packages::write_stanza(entry, out))?;
        }
        index.finish()
    }
}

fn sign(
    dist: &str,
    release: String,
    key: &SigningKey,
    at: Timestamp,
    files: &mut Files,
) -> Result<(), Error> {
    let failed = |source| Error::Sign { dist: dist.to_owned(), source };
    let clear = key.sign_cleartext(&release, at).map_err(failed)?;
    let detached = key.sign_detached(release.as_bytes(), at).map_err(failed)?;
    for (name, text) in [("InRelease", clear), ("Release", release), ("Release.gpg", detached)] {
        let blob = files.add_blob(text.into());
        files.add_path(format!("dists/{dist}/{name}"), blob);
    }
    Ok(())
}

/// The files that some index lists; those for `all` stand in several.
fn pool(selection: &Selection<'_>, hidden: &BTreeSet<(String, Sha256)>) -> Pool {
    let entries = selection.values().flatten();
    entries
        .filter(|entry| {
            let architecture = entry.payload.architecture.clone();
            !hidden.contains(&(architecture, entry.payload.sha256))
        })
        .map(|entry| {
            let file = PoolFile { sha256: entry.payload.sha256, length: entry.payload.length };
            (entry.path.clone(), file)
        })
        .collect()
}

/// Index files as they come.
#[derive(Default)]
struct Files {
    paths: BTreeMap<String, DocumentRef>,
    blobs: BTreeMap<Digest, Bytes>,
}

impl Files {
    fn add_index(&mut self, dist: &str, folder: &str, form: Form) {
        let Some(bytes) = form.bytes else { return };
        let Form { suffix, sha256, .. } = form;
        let blob = self.add_blob(bytes);
        self.add_path(format!("dists/{dist}/{folder}/Packages{suffix}"), blob);
        self.add_path(by_hash(dist, folder, sha256), blob);
    }

    fn add_blob(&mut self, bytes: Bytes) -> DocumentRef {
        let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
        self.blobs.entry(digest).or_insert(bytes);
        DocumentRef { digest, length }
    }

    fn add_path(&mut self, path: String, blob: DocumentRef) {
        self.paths.insert(path, blob);
    }
}

fn by_hash(dist: &str, folder: &str, sha256: Sha256) -> String {
    format!("dists/{dist}/{folder}/by-hash/SHA256/{sha256}")
}

#[cfg(test)]
mod tests;
