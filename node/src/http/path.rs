//! From a request's path to what is wanted. Pure.
//!
//! What always holds: what comes out is made of plain segments. Paths are only
//! ever looked up, never given to a file system; refusing the odd ones here
//! keeps that true for whatever is put behind this later, and for proxies that
//! read a path in another way than we do.

use std::borrow::Cow;

use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::node::Stage;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use crate::view::files::FOLDER;

/// The longest path, in bytes as sent. Our own longest have some hundred.
const MAX_PATH: usize = 2048;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A word about this node.
    Welcome,
    /// The mesh's CA certificate.
    Ca,
    /// A stage's repository key.
    Key(Stage),
    /// A TUF metadata file.
    Metadata(String),
    /// A TUF target and the hash in its name.
    Target(String, Sha256),
    /// A blob by its own digest.
    Blob(Digest),
    /// A payload by the vendor's hash.
    Payload(Sha256),
    /// What views there are.
    Views,
    /// A file of a view; the path is empty for the view itself.
    View { stage: Stage, group: String, path: String },
}

/// Reads a path as it stands in the request line.
pub(super) fn parse(raw: &str) -> Result<Wanted, Refusal> {
    if raw.len() > MAX_PATH {
        return Err(Refusal::TooLong(MAX_PATH));
    }
    let segments = segments(raw)?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let unknown = || Refusal::NotFound("there is nothing at this path".to_owned());
    match segments.as_slice() {
        [] => Ok(Wanted::Welcome),
        ["ca.pem"] => Ok(Wanted::Ca),
        ["keys", file] => key(file),
        ["tuf", "metadata", file] => Ok(Wanted::Metadata((*file).to_owned())),
        ["tuf", "targets", folder @ .., file] => target(folder, file),
        ["content", "blake3", hex] => hex.parse().map(Wanted::Blob).map_err(Refusal::Digest),
        ["content", "sha256", hex] => hex.parse().map(Wanted::Payload).map_err(Refusal::Digest),
        ["apt"] | ["apt", _] => Ok(Wanted::Views),
        ["apt", stage, group, path @ ..] => Ok(Wanted::View {
            stage: stage.parse().map_err(Refusal::Stage)?,
            group: (*group).to_owned(),
            path: path.join("/"),
        }),
        ["files"] | ["files", _] => Ok(Wanted::Views),
        ["files", stage, group, path @ ..] => Ok(Wanted::View {
            stage: stage.parse().map_err(Refusal::Stage)?,
            group: (*group).to_owned(),
            path: format!("{FOLDER}{}", path.join("/")),
        }),
        _ => Err(unknown()),
    }
}

fn key(file: &str) -> Result<Wanted, Refusal> {
    let stage = file.strip_suffix(".asc").ok_or_else(|| {
        Refusal::NotFound("repository keys are called STAGE.asc, such as production.asc".to_owned())
    })?;
    stage.parse().map(Wanted::Key).map_err(Refusal::Stage)
}

/// `dir/HASH.name` names the target `dir/name` (TUF specification, 7.4.2).
fn target(folder: &[&str], file: &str) -> Result<Wanted, Refusal> {
    let (hash, name) = file.split_once('.').ok_or_else(|| {
        Refusal::NotFound("targets are called SHA256.NAME (consistent snapshots)".to_owned())
    })?;
    let sha256 = hash.parse().map_err(Refusal::Digest)?;
    let path = folder.iter().copied().chain([name]).collect::<Vec<_>>().join("/");
    Ok(Wanted::Target(path, sha256))
}

/// Splits before decoding, so that an encoded slash cannot make two segments of one.
fn segments(raw: &str) -> Result<Vec<Cow<'_, str>>, Refusal> {
    let Some(relative) = raw.strip_prefix('/') else {
        return Err(Refusal::Path("it does not begin with '/'"));
    };
    // One slash at the end is what people type for a folder.
    let relative = relative.strip_suffix('/').unwrap_or(relative);
    if relative.is_empty() {
        return Ok(Vec::new());
    }
    relative.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    let escapes_hold = raw.split('%').skip(1).all(|rest| {
        rest.as_bytes()
            .first_chunk::<2>()
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes_hold {
        return Err(Refusal::Path("a '%' is not followed by two hexadecimal digits"));
    }
    let text =
        percent_decode_str(raw).decode_utf8().map_err(|_| Refusal::Path("it is not UTF-8"))?;
    match text.as_ref() {
        "" => Err(Refusal::Path("it has an empty segment")),
        "." | ".." => Err(Refusal::Path("it has a segment '.' or '..'")),
        plain if plain.contains(['/', '\\']) => Err(Refusal::Path("it has an encoded slash")),
        plain if plain.contains(char::is_control) => {
            Err(Refusal::Path("it has a control character"))
        }
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn view(path: &str) -> Wanted {
        Wanted::View { stage: Stage::Production, group: "servers".into(), path: path.into() }
    }

    #[test]
    fn reads_every_kind_of_path() {
        let hash = "ab".repeat(32);
        let sha256: Sha256 = hash.parse().unwrap();
        for (raw, wanted) in [
            ("/".to_owned(), Wanted::Welcome),
            ("/ca.pem".to_owned(), Wanted::Ca),
            ("/keys/validation.asc".to_owned(), Wanted::Key(Stage::Validation)),
            ("/tuf/metadata/7.root.json".to_owned(), Wanted::Metadata("7.root.json".into())),
            (
                format!("/tuf/targets/approvals/{hash}.production"),
                Wanted::Target("approvals/production".into(), sha256),
            ),
            (format!("/content/sha256/{hash}"), Wanted::Payload(sha256)),
            (format!("/content/blake3/{hash}"), Wanted::Blob(hash.parse().unwrap())),
            ("/apt/".to_owned(), Wanted::Views),
            ("/apt/production".to_owned(), Wanted::Views),
            ("/apt/production/servers/".to_owned(), view("")),
            ("/apt/production/servers/dists/x/InRelease".to_owned(), view("dists/x/InRelease")),
            ("/files".to_owned(), Wanted::Views),
            ("/files/production/servers/".to_owned(), view("files/")),
            ("/files/production/servers/index.json".to_owned(), view("files/index.json")),
        ] {
            match parse(&raw) {
                Ok(found) => assert_eq!(found, wanted, "{raw}"),
                Err(refusal) => panic!("{raw}: {refusal:?}"),
            }
        }
    }

    #[test]
    fn decodes_as_apt_encodes() {
        let path = parse("/apt/production/servers/pool/g%2b%2b_1%253a2%7erc_x:y.deb");
        assert_eq!(path.ok(), Some(view("pool/g++_1%3a2~rc_x:y.deb")));
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for raw in [
            "/apt/production/servers/../x",
            "/apt/production/servers/%2e%2E/x",
            "/apt/production/servers/a%2fb",
            "/apt/production/servers/a%5Cb",
            "/apt/production/servers/a%00b",
            "/apt/production/servers/a%0ab",
            "/apt/production/servers//x",
            "/apt/production/servers/%zz",
            "/apt/production/servers/%2",
            "/apt/production/servers/%ff",
            "apt",
        ] {
            assert!(matches!(parse(raw), Err(Refusal::Path(_))), "{raw}");
        }
        assert!(matches!(parse(&format!("/{}", "x".repeat(3000))), Err(Refusal::TooLong(_))));
        assert!(matches!(parse("/apt/staging/servers/x"), Err(Refusal::Stage(_))));
        assert!(matches!(parse("/content/sha256/xyz"), Err(Refusal::Digest(_))));
        for raw in ["/keys/production", "/tuf", "/tuf/targets/x", "/tuf/metadata", "/favicon.ico"] {
            assert!(matches!(parse(raw), Err(Refusal::NotFound(_))), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_odd_comes_out(raw in "/(apt/production/g/)?[a-z%0-9./\\\\]{0,40}") {
            if let Ok(Wanted::View { path, .. }) = parse(&raw) {
                assert!(path.is_empty() || path.split('/').all(|s| !matches!(s, "" | "." | "..")));
            }
        }
    }
}
