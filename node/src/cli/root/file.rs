//! The file that a ceremony goes through hands in: what is to be signed, and
//! the signatures so far.
//!
//! What the file says of the holders as they are, and of whose key is whose,
//! is for people to read; what is signed is in the papers alone, and what they
//! say is read from there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use patchmesh_proto::admin;
use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;
use crate::durable;
use crate::tuf::RoleName;
use crate::tuf::ceremony::{self, Holding};
use crate::tuf::delegation::Holders;
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{Root, Targets};
use crate::tuf::paper::Paper;

/// The form of the file that this program writes.
const FORMAT: u32 = 1;
/// The largest file read.
const MAX_FILE: u64 = 16 << 20;

/// A ceremony on its way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CeremonyFile {
    format: u32,
    prepared_at: String,
    pub(crate) comment: String,
    now: Vec<Now>,
    /// Key ids and the people whose keys they are.
    users: BTreeMap<String, String>,
    pub(crate) papers: Vec<Paper>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Now {
    role: String,
    threshold: u32,
    /// Hexadecimal.
    keys: Vec<String>,
}

impl CeremonyFile {
    /// What the primary prepared.
    pub(crate) fn of(
        response: admin::PrepareRolesResponse,
        comment: String,
    ) -> anyhow::Result<Self> {
        let now = response.now.into_iter().map(|role| Now {
            keys: role.keys.iter().map(|key| hex::encode(&key.public_key)).collect(),
            role: role.role,
            threshold: role.threshold,
        });
        let papers = response.papers.iter().map(|paper| serde_json::from_slice(paper));
        Ok(Self {
            format: FORMAT,
            prepared_at: jiff::Timestamp::now().to_string(),
            comment,
            now: now.collect(),
            users: response.users.into_iter().collect(),
            papers: papers.collect::<Result<_, _>>()?,
        })
    }

    /// Reads the file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot read {}", path.display());
        if std::fs::metadata(path).with_context(failed)?.len() > MAX_FILE {
            return Err(Exit::BadData.error(format!("{} is too long", path.display())));
        }
        let text = std::fs::read(path).with_context(failed)?;
        let file: Self = serde_json::from_slice(&text).map_err(|error| {
            Exit::BadData.error(format!(
                "{} is not a file from `patchmesh root prepare`: {error}",
                path.display()
            ))
        })?;
        if file.format != FORMAT {
            return Err(Exit::BadData.error(format!(
                "{} is of form {}; this program knows {FORMAT}",
                path.display(),
                file.format
            )));
        }
        Ok(file)
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", path.display());
        let text = serde_json::to_vec_pretty(self)?;
        durable::replace(path, &text, durable::PUBLIC).with_context(failed)
    }

    /// The papers as the service takes them.
    pub(crate) fn to_wire(&self) -> anyhow::Result<Vec<prost::bytes::Bytes>> {
        let papers = self.papers.iter().map(|paper| Ok(serde_json::to_vec(paper)?.into()));
        papers.collect()
    }

    /// What would change, in words, one line for each role.
    pub(crate) fn in_words(&self) -> anyhow::Result<Vec<String>> {
        let words = |holding: &Option<Holding>| match holding {
            Some(holding) => ceremony::stated_in_words(holding, |key| self.owner(key)),
            None => "nobody".to_owned(),
        };
        let mut lines = Vec::new();
        for role in ceremony::roles() {
            let (before, after) = (self.now(&role), self.after(&role)?);
            if before != after {
                lines.push(format!("{role}: {}, until now {}", words(&after), words(&before)));
            }
        }
        if lines.is_empty() {
            lines.push("no other holders: the same ones for another year".to_owned());
        }
        for paper in &self.papers {
            let version = paper.version().unwrap_or(0);
            lines.push(format!("to be signed: version {version} of {}", paper.role()));
        }
        Ok(lines)
    }

    /// Whether a key may sign the paper of `role`.
    pub(crate) fn may_sign(&self, role: &RoleName, id: &KeyId) -> anyhow::Result<bool> {
        let holds = |holding: Option<Holding>| {
            let keys = holding.map(|holding| holding.keys).unwrap_or_default();
            keys.iter().any(|key| key.id().is_ok_and(|known| known == *id))
        };
        let before = *role == RoleName::ROOT && holds(self.now(role));
        Ok(before || holds(self.after(role)?))
    }

    /// Who holds `role` now, by the file's own word.
    fn now(&self, role: &RoleName) -> Option<Holding> {
        let now = self.now.iter().find(|now| now.role == role.as_str())?;
        let keys = now.keys.iter().filter_map(|key| Some(Key::ed25519(&hex::decode(key).ok()?)));
        Some(Holding { keys: keys.collect(), threshold: now.threshold })
    }

    /// Who would hold `role`: by what is signed, else as it is.
    fn after(&self, role: &RoleName) -> anyhow::Result<Option<Holding>> {
        if role.is_top_level() {
            let Some(root) = self.signed::<Root>(&RoleName::ROOT)? else {
                return Ok(self.now(role));
            };
            return Ok(Some(held(&root.keys, top_level(&root, role))));
        }
        let Some(top) = self.signed::<Targets>(&RoleName::TARGETS)? else {
            return Ok(self.now(role));
        };
        Ok(top
            .delegations
            .as_ref()
            .and_then(|delegations| Some(held(&delegations.keys, delegations.holders(role)?))))
    }

    fn owner(&self, key: &Key) -> Option<String> {
        self.users.get(key.id().ok()?.as_str()).cloned()
    }

    fn signed<T: crate::tuf::metadata::Kind>(&self, role: &RoleName) -> anyhow::Result<Option<T>> {
        let paper = self.papers.iter().find(|paper| paper.role() == role);
        Ok(paper.map(Paper::envelope::<T>).transpose()?.map(|one| one.into_signed()))
    }
}

fn held(keys: &BTreeMap<KeyId, Key>, holders: &Holders) -> Holding {
    Holding {
        keys: holders.keyids().iter().filter_map(|id| keys.get(id).cloned()).collect(),
        threshold: holders.threshold().get(),
    }
}

fn top_level<'a>(root: &'a Root, role: &RoleName) -> &'a Holders {
    match role.as_str() {
        "timestamp" => &root.roles.timestamp,
        "snapshot" => &root.roles.snapshot,
        "targets" => &root.roles.targets,
        _ => &root.roles.root,
    }
}
