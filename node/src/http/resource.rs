//! From what is wanted to the file that answers it, in one snapshot.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::View;

use super::path::Wanted;
use super::refusal::Refusal;
use super::served::{Snapshot, Stored};
use crate::view::files::FOLDER;
use crate::view::shelf::{File, Shelf, is_by_hash};

/// Seconds from 1970 to 2004, the `Last-Modified` of everything whose address
/// holds its hash. It says nothing, but apt resumes a download only by a date,
/// and only if every node states the same one for the same file.
const EVER: u64 = 1_072_915_200;

/// Targets that only a member of the mesh may read, over gRPC.
const MESH_TARGETS: &str = "mesh/";

/// The most groups and dists named in a text.
const MAX_LISTED: usize = 50;

/// When a client should come back for a payload that is approved and not bound.
const UNBOUND_RETRY: Duration = Duration::from_secs(60);

/// A file and what to say about it.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) bytes: Stored,
    pub(super) length: u64,
    /// Strong, with its quotes.
    pub(super) etag: String,
    pub(super) modified: Option<SystemTime>,
    pub(super) content_type: &'static str,
    /// Whether its address can never have another content.
    pub(super) immutable: bool,
}

/// Finds the file that answers a request.
pub(super) fn resolve(
    wanted: &Wanted,
    served: &dyn Snapshot,
    is_machine: bool,
) -> Result<Resource, Refusal> {
    match wanted {
        Wanted::Welcome => Ok(Resource::text(welcome(served))),
        Wanted::Views => Ok(Resource::text(list_views(served))),
        Wanted::Ca => {
            let pem = served.ca().ok_or_else(|| missing("no CA certificate"))?;
            Ok(Resource::mutable(Stored::Bytes(pem), "application/x-pem-file"))
        }
        Wanted::Key(stage) => {
            let key = served
                .repository_key(*stage)
                .ok_or_else(|| missing(&format!("no repository key of stage {stage}")))?;
            Ok(Resource::mutable(Stored::Bytes(key), "application/pgp-keys"))
        }
        Wanted::Metadata(file) => metadata(file, served),
        Wanted::Target(path, sha256) => target(path, sha256, served),
        Wanted::Blob(digest) => {
            let length = served
                .open_blob(digest)
                .ok_or_else(|| missing("no blob of this digest that is open to all"))?;
            Ok(Resource::blob(
                DocumentRef { digest: *digest, length },
                digest,
                "application/octet-stream",
            ))
        }
        Wanted::Payload(sha256) => {
            let held = || served.held_payload(sha256).filter(|_| is_machine);
            let binding = served
                .open_payload(sha256)
                .or_else(held)
                .ok_or_else(|| missing("no payload of this SHA-256 that is open to all"))?;
            let blob = DocumentRef { digest: binding.blob, length: binding.length };
            Ok(Resource::blob(blob, sha256, "application/octet-stream"))
        }
        Wanted::View { stage, group, path } => view_file(*stage, group, path, served),
    }
}

fn metadata(file: &str, served: &dyn Snapshot) -> Result<Resource, Refusal> {
    let stored = served.metadata(file).ok_or_else(|| missing("no TUF metadata of this name"))?;
    let mut resource = Resource::mutable(stored, "application/json");
    // `3.root.json` is one file for ever; `timestamp.json` changes by the hour.
    resource.immutable = file.starts_with(|c: char| c.is_ascii_digit());
    Ok(resource)
}

fn target(path: &str, sha256: &Sha256, served: &dyn Snapshot) -> Result<Resource, Refusal> {
    if path.starts_with(MESH_TARGETS) {
        return Err(Refusal::Closed(
            "documents about the mesh itself are for its nodes, by certificate",
        ));
    }
    let blob =
        served.target(path, sha256).ok_or_else(|| missing("no target of this name and hash"))?;
    Ok(Resource::blob(blob, sha256, "application/octet-stream"))
}

fn view_file(
    stage: Stage,
    group: &str,
    path: &str,
    served: &dyn Snapshot,
) -> Result<Resource, Refusal> {
    let Some(shelf) = served.shelf(stage, group) else {
        return Err(Refusal::NotFound(format!(
            "this node does not serve stage {stage} for group {group:?}.\n{}",
            list_views(served)
        )));
    };
    if path.is_empty() || path == FOLDER {
        return Ok(Resource::text(describe(stage, group, shelf.current())));
    }
    match shelf.file(path) {
        Some(File::Index(blob)) => Ok(index_file(path, blob, &shelf)),
        Some(File::Pool(file)) => {
            let binding = served.binding(&file.sha256).ok_or_else(|| Refusal::Unavailable {
                why: "it is approved, but its content has not arrived at headquarters yet"
                    .to_owned(),
                retry_after: UNBOUND_RETRY,
            })?;
            let blob = DocumentRef { digest: binding.blob, length: binding.length };
            Ok(Resource::blob(blob, &file.sha256, content_type(path)))
        }
        None => {
            let what = if path.starts_with("pool/") || path.starts_with(FOLDER) {
                "no such file is open"
            } else {
                "no such index is"
            };
            let there = describe(stage, group, shelf.current());
            Err(Refusal::NotFound(format!("{what} here.\n{there}")))
        }
    }
}

fn index_file(path: &str, blob: DocumentRef, shelf: &Shelf) -> Resource {
    let mut resource = Resource::blob(blob, &blob.digest, content_type(path));
    if !is_by_hash(path) {
        resource.immutable = false;
        // A date that two contents share must not make a client keep the older one.
        let signed_at = shelf.current().signed_at.as_second();
        resource.modified = shelf.is_dated(path).then(|| seconds(signed_at));
    }
    resource
}

fn seconds(since_1970: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(since_1970).unwrap_or(0))
}

impl Resource {
    /// A blob whose address holds its hash.
    fn blob(blob: DocumentRef, tag: &impl std::fmt::Display, content_type: &'static str) -> Self {
        Self {
            bytes: Stored::Blob(blob),
            length: blob.length,
            etag: format!("\"{tag}\""),
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(EVER)),
            content_type,
            immutable: true,
        }
    }

    /// A small file that may change.
    fn mutable(stored: Stored, content_type: &'static str) -> Self {
        let (digest, length) = match &stored {
            Stored::Bytes(bytes) => (Digest::of(bytes), bytes.len() as u64),
            Stored::Blob(blob) => (blob.digest, blob.length),
        };
        let etag = format!("\"{digest}\"");
        Self { bytes: stored, length, etag, modified: None, content_type, immutable: false }
    }

    fn text(text: String) -> Self {
        Self::mutable(Stored::Bytes(Bytes::from(text)), TEXT)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("deb" | "udeb" | "ddeb") => "application/vnd.debian.binary-package",
        Some("gz") => "application/gzip",
        Some("xz") => "application/x-xz",
        Some("gpg" | "asc") => "application/pgp-signature",
        Some("json") => "application/json",
        None if !is_by_hash(path) => TEXT,
        _ => "application/octet-stream",
    }
}

fn missing(what: &str) -> Refusal {
    Refusal::NotFound(format!("this node has {what}"))
}

fn welcome(served: &dyn Snapshot) -> String {
    format!(
        "This is a Patchmesh node: it serves approved updates.\n\n{}\n\
         /keys/STAGE.asc   the OpenPGP key of a stage's repositories\n\
         /ca.pem           the certificate authority of this mesh\n\
         /tuf/             signed metadata for TUF clients\n\
         /content/         content by digest: blake3/HEX or sha256/HEX\n",
        list_views(served)
    )
}

fn list_views(served: &dyn Snapshot) -> String {
    let groups = served.groups();
    if groups.is_empty() {
        return "This node serves no apt repositories.\n".to_owned();
    }
    let mut text = "This node serves these apt repositories:\n".to_owned();
    for (stage, group) in groups.iter().take(MAX_LISTED) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "/apt/{stage}/{group}");
    }
    if groups.len() > MAX_LISTED {
        let _ = writeln!(text, "and {} more", groups.len() - MAX_LISTED);
    }
    text
}

fn describe(stage: Stage, group: &str, view: &View) -> String {
    let mut text = format!(
        "What is open in {stage} for {group}, as an apt repository.\nSigned {} by the key at /keys/{stage}.asc.\n",
        view.signed_at
    );
    let dists: BTreeSet<&str> = view
        .files
        .keys()
        .filter_map(|path| path.strip_prefix("dists/")?.split('/').next())
        .collect();
    for dist in dists.iter().take(MAX_LISTED) {
        let _ = writeln!(text, "deb URL/apt/{stage}/{group} {dist} settled opening");
    }
    if view.files.contains_key("files/index.json") {
        let _ = writeln!(text, "What is no package: URL/files/{stage}/{group}/index.json");
    }
    text
}
