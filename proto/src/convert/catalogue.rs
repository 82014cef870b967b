//! Revisions, the catalogue's entries and bindings.

use patchmesh_topology::revision::place::MAX_PLACED;
use patchmesh_topology::revision::{
    Binding, CatalogueEntry, Facts, Payload, Place, Revision, RevisionId,
};

use super::{At, Error, Fault, digest, each, reference, sha256, time};
use super::{digest_to_wire, sha256_to_wire, timestamp_to_wire};
use crate::wire;

impl TryFrom<wire::Payload> for Payload {
    type Error = Error;

    fn try_from(value: wire::Payload) -> Result<Self, Error> {
        let payload = Self {
            package: value.package,
            version: value.version,
            architecture: value.architecture,
            component: value.component,
            filename: value.filename,
            length: value.length,
            sha256: sha256(&value.sha256).at("sha256")?,
            control: value.control,
            language: value.language,
            place: value.place.map(Place::try_from).transpose().at("place")?.map(Box::new),
        };
        if !payload.has_inner_filename() {
            return Err(Fault::Path(payload.filename)).at("filename");
        }
        Ok(payload)
    }
}

impl From<&Payload> for wire::Payload {
    fn from(payload: &Payload) -> Self {
        Self {
            package: payload.package.clone(),
            version: payload.version.clone(),
            architecture: payload.architecture.clone(),
            component: payload.component.clone(),
            filename: payload.filename.clone(),
            length: payload.length,
            sha256: sha256_to_wire(&payload.sha256),
            control: payload.control.clone(),
            language: payload.language.clone(),
            place: payload.place.as_deref().map(Into::into),
        }
    }
}

impl TryFrom<wire::Place> for Place {
    type Error = Error;

    fn try_from(value: wire::Place) -> Result<Self, Error> {
        let wire::Place { path, mode, owner, group } = value;
        let place = Self { path, mode, owner, group };
        place.check().map_err(Fault::from)?;
        Ok(place)
    }
}

impl From<&Place> for wire::Place {
    fn from(place: &Place) -> Self {
        let Place { path, mode, owner, group } = place.clone();
        Self { path, mode, owner, group }
    }
}

impl TryFrom<wire::Revision> for Revision {
    type Error = Error;

    fn try_from(value: wire::Revision) -> Result<Self, Error> {
        let payloads = each("payloads", value.payloads, Payload::try_from)?;
        let disorder = payloads.windows(2).position(|pair| pair[0].sort_key() > pair[1].sort_key());
        if let Some(index) = disorder {
            return Err(Fault::Order).at(&format!("payloads[{}]", index + 1));
        }
        if !value.architectures.is_sorted() {
            return Err(Fault::Order).at("architectures");
        }
        let revision = Self {
            id: value.id.parse::<RevisionId>().at("id")?,
            title: value.title,
            description: value.description,
            architectures: value.architectures,
            payloads,
            facts: value.facts.map(Facts::try_from).transpose().at("facts")?.unwrap_or_default(),
        };
        let is_placed = revision.is_placed();
        let odd = revision.payloads.iter().position(|one| one.place.is_some() != is_placed);
        if let Some(index) = odd {
            return Err(Fault::Contradiction("the kind of installer"))
                .at(&format!("payloads[{index}].place"));
        }
        if is_placed && revision.payloads.len() > MAX_PLACED {
            return Err(Fault::Many(MAX_PLACED)).at("payloads");
        }
        Ok(revision)
    }
}

impl From<&Revision> for wire::Revision {
    fn from(revision: &Revision) -> Self {
        Self {
            id: revision.id.to_string(),
            title: revision.title.clone(),
            description: revision.description.clone(),
            architectures: revision.architectures.clone(),
            payloads: revision.payloads.iter().map(wire::Payload::from).collect(),
            facts: (!revision.facts.is_empty()).then(|| (&revision.facts).into()),
        }
    }
}

impl TryFrom<wire::CatalogueEntry> for (RevisionId, CatalogueEntry) {
    type Error = Error;

    fn try_from(value: wire::CatalogueEntry) -> Result<Self, Error> {
        let entry = CatalogueEntry {
            document: reference(value.document).at("document")?,
            entered_at: time(value.entered_at).at("entered_at")?,
            ordinal: value.ordinal,
            fingerprint: digest(&value.fingerprint).at("fingerprint")?,
        };
        Ok((value.revision.parse().at("revision")?, entry))
    }
}

impl From<(&RevisionId, &CatalogueEntry)> for wire::CatalogueEntry {
    fn from((revision, entry): (&RevisionId, &CatalogueEntry)) -> Self {
        Self {
            revision: revision.to_string(),
            document: Some((&entry.document).into()),
            entered_at: Some(timestamp_to_wire(entry.entered_at)),
            ordinal: entry.ordinal,
            fingerprint: digest_to_wire(&entry.fingerprint),
        }
    }
}

impl TryFrom<wire::Binding> for Binding {
    type Error = Error;

    fn try_from(value: wire::Binding) -> Result<Self, Error> {
        let blob = reference(value.blob).at("blob")?;
        let sha256 = sha256(&value.sha256).at("sha256")?;
        Ok(Self { sha256, blob: blob.digest, length: blob.length })
    }
}

impl From<&Binding> for wire::Binding {
    fn from(binding: &Binding) -> Self {
        let blob = wire::Ref { digest: digest_to_wire(&binding.blob), length: binding.length };
        Self { sha256: sha256_to_wire(&binding.sha256), blob: Some(blob) }
    }
}
