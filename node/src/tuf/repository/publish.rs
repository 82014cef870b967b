//! The next generation: what changed, signed here or elsewhere, and whoever's keys changed.
//!
//! Roles are decided from the top down, as a client will check them: the next root by the holders it had and has, then
//! the delegations by the root's word, then every role by the delegations' word. A role whose holders changed so that
//! what it signed no longer counts is signed anew in the same generation, so that no client ever sees one without the
//! other.

use super::{
    Authority, BTreeMap, Document, Envelope, Error, Header, Instant, Kind, MeshRole, MetaFile,
    NonZeroU64, Paper, Publication, ROLE_LIFETIME, Repository, RoleKeys, RoleName, Root,
    TargetEntry, Targets, ceremony, expiry, files, is_due, listed, next, parsed, seal, top_level,
};

/// What goes into the next generation.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// For each role that changes: all targets that it names from now on.
    pub targets: &'a BTreeMap<MeshRole, Vec<TargetEntry>>,
    /// What was signed elsewhere: a root, top-level targets, or roles of the mesh.
    pub papers: &'a [Paper],
}

impl Changes<'_> {
    fn paper(&self, role: &RoleName) -> Option<&Paper> {
        self.papers.iter().find(|paper| paper.role() == role)
    }
}

/// A successor in the making.
struct Press<'a> {
    keys: &'a RoleKeys,
    now: Instant,
    documents: Vec<Document>,
}

impl Repository {
    /// Makes the next generation. `changes` holds, for each role that changes, all targets that it names from now on.
    /// Roles that are about to expire are signed anew along with it, where the keys are here.
    pub fn publish(
        &self,
        keys: &RoleKeys,
        changes: &BTreeMap<MeshRole, Vec<TargetEntry>>,
        now: Instant,
    ) -> Result<Publication, Error> {
        self.publish_with(keys, Changes { targets: changes, papers: &[] }, now)
    }

    /// Makes the next generation out of what is signed here and what was signed elsewhere.
    pub fn publish_with(
        &self,
        keys: &RoleKeys,
        changes: Changes<'_>,
        now: Instant,
    ) -> Result<Publication, Error> {
        let mut press = Press { keys, now, documents: Vec::new() };
        let root = self.next_root(&mut press, changes)?;
        let mut meta = self.snapshot.meta.clone();
        let top = self.next_top(&mut press, changes, &root, &mut meta)?;
        let mut roles = self.roles.clone();
        for (&role, envelope) in &mut roles {
            let authority = ceremony::authority(&root, top.signed(), &role.name())
                .ok_or_else(|| Error::Foreign { role: RoleName::TARGETS })?;
            let held = self.held(&role.name());
            if let Some(next) = press.role(role, envelope, changes, authority, held)? {
                meta.extend(press.documents.last().map(listed));
                *envelope = next;
            }
        }
        let versions = (
            next(RoleName::SNAPSHOT, &self.snapshot.header)?,
            next(RoleName::TIMESTAMP, &self.timestamp.header)?,
        );
        let (snapshot, timestamp, signed) = seal(keys, &root, meta, versions, now)?;
        press.documents.extend(signed);
        let held = self.held.clone();
        let repository = Self { root, top, roles, snapshot, timestamp, held };
        Ok(Publication { repository, documents: press.documents })
    }

    /// What `role` would sign next, for those who hold its keys: unsigned. Named entries replace what it names now.
    pub fn draw_up(
        &self,
        role: MeshRole,
        entries: Option<&[TargetEntry]>,
        now: Instant,
    ) -> Result<Paper, Error> {
        let present = self.roles.get(&role).ok_or(Error::Missing { role: role.name() })?.signed();
        let targets = match entries {
            Some(entries) => files(role, entries)?,
            None => present.targets.clone(),
        };
        let version = above(role.name(), &present.header, self.held(&role.name()))?;
        let header = Header::new::<Targets>(version, expiry(now, ROLE_LIFETIME)?);
        let drawn = Targets { header, targets, delegations: None };
        Paper::of(role.name(), &drawn).map_err(|source| Error::Sign { role: role.name(), source })
    }

    /// The root and the top-level targets as they would be with `papers`, whoever has signed them.
    pub fn after(&self, papers: &[Paper]) -> Result<(Root, Targets), Error> {
        let find = |role: RoleName| papers.iter().find(move |paper| *paper.role() == role);
        let unreadable = |role| move |source| Error::Unreadable { role, source };
        let root = match find(RoleName::ROOT) {
            Some(paper) => {
                paper.envelope::<Root>().map_err(unreadable(RoleName::ROOT))?.into_signed()
            }
            None => self.root.clone(),
        };
        let top = match find(RoleName::TARGETS) {
            Some(paper) => {
                paper.envelope::<Targets>().map_err(unreadable(RoleName::TARGETS))?.into_signed()
            }
            None => self.top.signed().clone(),
        };
        Ok((root, top))
    }

    /// The roles whose present signatures would not count after the holders in `papers` (a root, top-level targets).
    pub fn unsettled_by(&self, papers: &[Paper]) -> Result<Vec<MeshRole>, Error> {
        let (root, top) = self.after(papers)?;
        let holds = |role: MeshRole, envelope: &Envelope<Targets>| {
            ceremony::authority(&root, &top, &role.name())
                .is_some_and(|authority| envelope.verify(authority).is_ok())
        };
        let unsettled = self.roles.iter().filter(|(role, envelope)| !holds(**role, envelope));
        Ok(unsettled.map(|(role, _)| *role).collect())
    }

    /// Whether each of `papers` is the very next version of its role.
    pub fn follows(&self, papers: &[Paper]) -> bool {
        let version = |role: &RoleName| match role.as_str() {
            "root" => Some(self.root.header.version()),
            "targets" => Some(self.top.version()),
            _ => self.present(role).map(Envelope::version),
        };
        papers.iter().all(|paper| {
            let now = version(paper.role());
            now.is_some_and(|now| paper.version() == now.checked_add(1))
        })
    }

    /// Whether a paper of a role of the mesh names exactly `entries`.
    pub fn names(&self, paper: &Paper, entries: &[TargetEntry]) -> bool {
        let role = MeshRole::ALL.into_iter().find(|role| role.name() == *paper.role());
        let expected = role.and_then(|role| files(role, entries).ok());
        let found = paper.envelope::<Targets>().ok().map(|one| one.into_signed().targets);
        expected.is_some() && expected == found
    }

    /// Whether a paper of a role of the mesh names what the role names now.
    pub fn says_the_same(&self, paper: &Paper) -> bool {
        let now = self.present(paper.role()).map(|one| &one.signed().targets);
        paper.envelope::<Targets>().is_ok_and(|one| {
            one.signed().delegations.is_none() && Some(&one.signed().targets) == now
        })
    }

    fn present(&self, role: &RoleName) -> Option<&Envelope<Targets>> {
        let found = self.roles.iter().find(|(mesh_role, _)| mesh_role.name() == *role);
        found.map(|(_, envelope)| envelope)
    }

    fn next_root(&self, press: &mut Press<'_>, changes: Changes<'_>) -> Result<Root, Error> {
        let role = RoleName::ROOT;
        let present = top_level(&self.root, &self.root.roles.root);
        if let Some(paper) = changes.paper(&role) {
            let envelope = read::<Root>(paper, next(role.clone(), &self.root.header)?)?;
            let new = top_level(envelope.signed(), &envelope.signed().roles.root);
            for authority in [present, new] {
                verify(&role, &envelope, authority)?;
            }
            press.take::<Root>(paper)?;
            return Ok(envelope.into_signed());
        }
        if !is_due(&self.root.header, ROLE_LIFETIME, press.now) || !press.keys.reach(present) {
            return Ok(self.root.clone());
        }
        let version = next(role.clone(), &self.root.header)?;
        let header = Header::new::<Root>(version, expiry(press.now, ROLE_LIFETIME)?);
        let root = Root { header, ..self.root.clone() };
        press.sign(&root, role, present)?;
        Ok(root)
    }

    fn next_top(
        &self,
        press: &mut Press<'_>,
        changes: Changes<'_>,
        root: &Root,
        meta: &mut BTreeMap<String, MetaFile>,
    ) -> Result<Envelope<Targets>, Error> {
        let role = RoleName::TARGETS;
        let authority = top_level(root, &root.roles.targets);
        let present = &self.top.signed().header;
        let envelope = if let Some(paper) = changes.paper(&role) {
            let envelope = read::<Targets>(paper, next(role.clone(), present)?)?;
            let is_ours = |role: &MeshRole| {
                ceremony::authority(root, envelope.signed(), &role.name()).is_some()
            };
            // Top-level targets delegate, to the roles of a mesh, and do nothing else.
            if !envelope.signed().targets.is_empty() || !MeshRole::ALL.iter().all(is_ours) {
                return Err(Error::Foreign { role });
            }
            verify(&role, &envelope, authority)?;
            press.take::<Targets>(paper)?;
            envelope
        } else {
            let holds = self.top.verify(authority).is_ok();
            let is_due = is_due(present, ROLE_LIFETIME, press.now);
            if holds && !(is_due && press.keys.reach(authority)) {
                return Ok(self.top.clone());
            }
            let version = next(role.clone(), present)?;
            let header = Header::new::<Targets>(version, expiry(press.now, ROLE_LIFETIME)?);
            let top = Targets { header, ..self.top.signed().clone() };
            press.sign(&top, role, authority)?
        };
        meta.extend(press.documents.last().map(listed));
        Ok(envelope)
    }
}

impl Press<'_> {
    /// What `role` says from now on; `None` if nothing new.
    fn role(
        &mut self,
        role: MeshRole,
        present: &Envelope<Targets>,
        changes: Changes<'_>,
        authority: Authority<'_>,
        held: u64,
    ) -> Result<Option<Envelope<Targets>>, Error> {
        let name = role.name();
        let entries = changes.targets.get(&role).map(|entries| files(role, entries)).transpose()?;
        let header = &present.signed().header;
        let version = above(name.clone(), header, held)?;
        if let Some(paper) = changes.paper(&name) {
            let envelope = read::<Targets>(paper, version)?;
            let expected = entries.as_ref().unwrap_or(&present.signed().targets);
            if envelope.signed().delegations.is_some() {
                return Err(Error::Foreign { role: name });
            }
            if envelope.signed().targets != *expected {
                return Err(Error::Stale { role: name });
            }
            verify(&name, &envelope, authority)?;
            self.take::<Targets>(paper)?;
            return Ok(Some(envelope));
        }
        let holds = present.verify(authority).is_ok();
        let is_due = is_due(header, ROLE_LIFETIME, self.now) && self.keys.reach(authority);
        let is_behind = header.version() < held;
        if entries.is_none() && holds && !is_due && !is_behind {
            return Ok(None);
        }
        let targets = entries.unwrap_or_else(|| present.signed().targets.clone());
        let header = Header::new::<Targets>(version, expiry(self.now, ROLE_LIFETIME)?);
        self.sign(&Targets { header, targets, delegations: None }, name, authority).map(Some)
    }

    fn sign<T: Kind>(
        &mut self,
        document: &T,
        role: RoleName,
        authority: Authority<'_>,
    ) -> Result<Envelope<T>, Error> {
        let document = self.keys.sign(document, role, authority)?;
        let envelope = parsed(&document)?;
        self.documents.push(document);
        Ok(envelope)
    }

    fn take<T: Kind>(&mut self, paper: &Paper) -> Result<(), Error> {
        let role = paper.role().clone();
        let document =
            paper.document::<T>().map_err(|source| Error::Unreadable { role, source })?;
        self.documents.push(document);
        Ok(())
    }
}

/// The version after the present one and after what others hold.
fn above(role: RoleName, header: &Header, held: u64) -> Result<NonZeroU64, Error> {
    let after_held =
        NonZeroU64::MIN.checked_add(held).ok_or(Error::LastVersion { role: role.clone() })?;
    Ok(next(role, header)?.max(after_held))
}

/// Reads what was signed elsewhere, if it is the very next version.
fn read<T: Kind>(paper: &Paper, version: NonZeroU64) -> Result<Envelope<T>, Error> {
    let role = || paper.role().clone();
    let envelope =
        paper.envelope::<T>().map_err(|source| Error::Unreadable { role: role(), source })?;
    if envelope.version() == version.get() {
        Ok(envelope)
    } else {
        Err(Error::Stale { role: role() })
    }
}

fn verify<T: Kind>(
    role: &RoleName,
    envelope: &Envelope<T>,
    authority: Authority<'_>,
) -> Result<(), Error> {
    envelope.verify(authority).map_err(|source| Error::Unsigned { role: role.clone(), source })
}
