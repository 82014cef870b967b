//! Who has to sign what, if a set of papers is to be published.

use std::collections::BTreeSet;

use patchmesh_topology::node::Mesh;
use patchmesh_topology::person::User;

use super::Error;
use crate::tuf::envelope::{Authority, Signature};
use crate::tuf::key::KeyId;
use crate::tuf::metadata::{Root, Targets};
use crate::tuf::paper::{Paper, Refused, Standing};
use crate::tuf::repository::Repository;
use crate::tuf::{RoleName, ceremony};

/// The holders of every role as they are, and as they would be.
#[derive(Debug, Clone)]
pub struct Outlook {
    now: (Root, Targets),
    after: (Root, Targets),
}

impl Outlook {
    /// The outlook of publishing `papers`.
    ///
    /// # Errors
    /// A paper that can't be read.
    pub fn new(repository: &Repository, papers: &[Paper]) -> Result<Self, Error> {
        let now = (repository.root().clone(), repository.top().clone());
        Ok(Self { now, after: repository.after(papers)? })
    }

    /// By whose word `role` has to be signed: the holders that there will be;
    /// for the root also those that there are.
    fn authorities(&self, role: &RoleName) -> Vec<Authority<'_>> {
        let after = ceremony::authority(&self.after.0, &self.after.1, role);
        let now = ceremony::authority(&self.now.0, &self.now.1, role);
        match *role == RoleName::ROOT {
            true if now.map(|one| one.holders) != after.map(|one| one.holders) => {
                now.into_iter().chain(after).collect()
            }
            _ => after.into_iter().collect(),
        }
    }

    /// The holders of `role` that there would be.
    #[must_use]
    pub fn after(&self, role: &RoleName) -> Option<Authority<'_>> {
        ceremony::authority(&self.after.0, &self.after.1, role)
    }

    /// How far a paper has come: for each of those by whose word it has to be
    /// signed.
    #[must_use]
    pub fn standings(&self, paper: &Paper) -> Vec<Standing> {
        let authorities = self.authorities(paper.role()).into_iter();
        authorities.map(|authority| paper.standing(authority)).collect()
    }

    /// The standing that is furthest from its end.
    #[must_use]
    pub fn worst(&self, paper: &Paper) -> Option<Standing> {
        let left = |one: &Standing| one.threshold.saturating_sub(one.signed.len());
        self.standings(paper).into_iter().max_by_key(left)
    }

    /// Whether everything is signed by enough.
    #[must_use]
    pub fn is_met(&self, papers: &[Paper]) -> bool {
        papers.iter().all(|paper| {
            let standings = self.standings(paper);
            !standings.is_empty() && standings.iter().all(Standing::is_met)
        })
    }

    /// Who may sign a paper and has not, while signatures are missing.
    #[must_use]
    pub fn missing(&self, paper: &Paper) -> BTreeSet<KeyId> {
        let open = self.standings(paper).into_iter().filter(|standing| !standing.is_met());
        open.flat_map(|standing| standing.missing).collect()
    }

    /// Adds a signature that counts for somebody by whose word the paper has
    /// to be signed.
    ///
    /// # Errors
    /// It counts for nobody.
    pub fn add(&self, paper: &mut Paper, signature: Signature) -> Result<(), Refused> {
        let (role, keyid) = (paper.role().clone(), signature.keyid.clone());
        let mut refused = Refused::NotAHolder { role: role.clone(), keyid };
        for authority in self.authorities(&role) {
            match paper.add(signature.clone(), authority) {
                Ok(()) => return Ok(()),
                Err(Refused::NotAHolder { .. }) => {}
                Err(other) => refused = other,
            }
        }
        Err(refused)
    }

    /// Whose key this is, if it is one that holds `role`.
    #[must_use]
    pub fn owner<'a>(&self, role: &RoleName, id: &KeyId, mesh: &'a Mesh) -> Option<&'a User> {
        let authorities = self.authorities(role).into_iter();
        let mut keys = authorities.filter_map(|authority| authority.keys.get(id));
        keys.find_map(|key| mesh.signer(&key.ed25519_bytes()?))
    }
}
