//! Views.

use patchmesh_topology::digest::Digest;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::set::SetId;
use patchmesh_topology::view::{PoolFile, Pools, View, ViewSet, Withheld, is_inner_path};
use prost::bytes::Bytes;

use super::mesh::stage;
use super::{
    At, Error, Fault, each, reference, sha256, sha256_to_wire, sorted, time, timestamp_to_wire,
};
use crate::wire;

fn inner_path(path: String) -> Result<String, Error> {
    if is_inner_path(&path) { Ok(path) } else { Err(Fault::Path(path)).at("path") }
}

/// The name of a set; none is [`SetId::UNSTATED`], and only that.
fn set_id(bytes: &[u8]) -> Result<SetId, Error> {
    match bytes {
        [] => Ok(SetId::UNSTATED),
        _ => match SetId::from(Digest::try_from(bytes)?) {
            SetId::UNSTATED => Err(Fault::Missing.into()),
            set => Ok(set),
        },
    }
}

fn set_id_to_wire(set: &SetId) -> Bytes {
    match *set {
        SetId::UNSTATED => Bytes::new(),
        set => Bytes::copy_from_slice(set.digest().as_bytes()),
    }
}

impl TryFrom<wire::ViewSet> for ViewSet {
    type Error = Error;

    fn try_from(value: wire::ViewSet) -> Result<Self, Error> {
        let views = each("views", value.views, |view| {
            let stage = stage(view.stage).at("stage")?;
            let group = view.group.parse().at("group")?;
            let set = set_id(&view.set).at("set")?;
            Ok(((stage, group, set), reference(view.document).at("document")?))
        })?;
        Ok(Self { version: value.version, views: sorted("views", views)? })
    }
}

impl From<&ViewSet> for wire::ViewSet {
    fn from(set: &ViewSet) -> Self {
        let views = set.views.iter().map(|((stage, group, set), document)| wire::ViewEntry {
            stage: wire::Stage::from(*stage).into(),
            group: group.to_string(),
            document: Some(document.into()),
            set: set_id_to_wire(set),
        });
        Self { version: set.version, views: views.collect() }
    }
}

impl TryFrom<wire::View> for View {
    type Error = Error;

    fn try_from(value: wire::View) -> Result<Self, Error> {
        let files = each("files", value.files, |file| {
            Ok((inner_path(file.path)?, reference(file.blob).at("blob")?))
        })?;
        let withheld = each("withheld", value.withheld, |one| {
            let revision = one.revision.parse().at("revision")?;
            let (package, architecture) = (one.package, one.architecture);
            Ok((Withheld { revision, package, architecture }, one.reason))
        })?;
        Ok(Self {
            signed_at: time(value.signed_at).at("signed_at")?,
            files: sorted("files", files)?,
            pools: Pools {
                settled: reference(value.settled).at("settled")?,
                opening: reference(value.opening).at("opening")?,
            },
            withheld: sorted("withheld", withheld)?,
        })
    }
}

impl From<&View> for wire::View {
    fn from(view: &View) -> Self {
        let file = |(path, blob): (&String, &DocumentRef)| wire::ViewFile {
            path: path.clone(),
            blob: Some(blob.into()),
        };
        let withheld = |(one, reason): (&Withheld, &String)| wire::Withheld {
            revision: one.revision.to_string(),
            package: one.package.clone(),
            architecture: one.architecture.clone(),
            reason: reason.clone(),
        };
        Self {
            signed_at: Some(timestamp_to_wire(view.signed_at)),
            files: view.files.iter().map(file).collect(),
            withheld: view.withheld.iter().map(withheld).collect(),
            settled: Some((&view.pools.settled).into()),
            opening: Some((&view.pools.opening).into()),
        }
    }
}

impl TryFrom<wire::PoolFile> for (String, PoolFile) {
    type Error = Error;

    fn try_from(file: wire::PoolFile) -> Result<Self, Error> {
        let sha256 = sha256(&file.sha256).at("sha256")?;
        Ok((inner_path(file.path)?, PoolFile { sha256, length: file.length }))
    }
}

impl From<(&String, &PoolFile)> for wire::PoolFile {
    fn from((path, file): (&String, &PoolFile)) -> Self {
        Self { path: path.clone(), sha256: sha256_to_wire(&file.sha256), length: file.length }
    }
}
