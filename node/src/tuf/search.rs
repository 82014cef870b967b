//! Which role to look at next: the order in which delegations are followed.
//!
//! A search for one path goes depth first in the order of delegations, so that the most trusted role that names the path
//! wins (5.6.7). A walk visits every delegation, for those who hold a whole repository. Neither does I/O: they say what
//! has to be loaded, the caller loads it and asks again.

use std::collections::BTreeSet;

use super::metadata::TargetFile;
use super::name::{RoleName, TargetPath};
use super::trusted::{Error, TrustedMetadata};

/// One delegation: metadata of `role` is to be trusted by the word of `delegator`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The role delegated to.
    pub role: RoleName,
    /// Who delegates.
    pub delegator: RoleName,
}

impl Edge {
    /// Where every search begins.
    pub fn top() -> Self {
        Self { role: RoleName::TARGETS, delegator: RoleName::ROOT }
    }
}

/// What a search says.
#[derive(Debug)]
pub enum Step<'a> {
    /// This role's metadata is needed first.
    Load(Edge),
    /// This role names the path.
    Found(RoleName, &'a TargetFile),
    /// No role names the path.
    Absent,
}

/// The search for one path.
#[derive(Debug)]
pub struct Search {
    path: TargetPath,
    limit: usize,
    /// Delegations to follow, the next one last.
    pending: Vec<Edge>,
    /// Roles looked at. None is looked at twice, so cycles end.
    visited: BTreeSet<RoleName>,
}

impl Search {
    /// Starts a search that looks at no more than `limit` roles.
    pub fn new(path: TargetPath, limit: usize) -> Self {
        Self { path, limit, pending: vec![Edge::top()], visited: BTreeSet::new() }
    }

    /// Goes on as far as loaded metadata allows.
    pub fn step<'a>(&mut self, trusted: &'a TrustedMetadata) -> Result<Step<'a>, Error> {
        while let Some(edge) = self.pending.pop() {
            if self.visited.contains(&edge.role) {
                continue;
            }
            if self.visited.len() >= self.limit {
                return Err(Error::TooManyRoles { path: self.path.clone(), limit: self.limit });
            }
            let Some(targets) = trusted.targets_by(&edge.role, &edge.delegator) else {
                self.pending.push(edge.clone());
                return Ok(Step::Load(edge));
            };
            if let Some(file) = targets.targets.get(&self.path) {
                return Ok(Step::Found(edge.role, file));
            }
            if let Some(delegations) = &targets.delegations {
                self.follow(&edge.role, delegations.roles_for(&self.path));
            }
            self.visited.insert(edge.role);
        }
        Ok(Step::Absent)
    }

    fn follow(&mut self, delegator: &RoleName, roles: Vec<(RoleName, bool)>) {
        let end = roles.iter().position(|(_, terminating)| *terminating);
        if end.is_some() {
            self.pending.clear();
        }
        let followed = end.map_or(roles.len(), |end| end + 1);
        let edges = roles
            .into_iter()
            .take(followed)
            .map(|(role, _)| Edge { role, delegator: delegator.clone() });
        self.pending.extend(edges.rev());
    }
}

/// A walk over every delegation.
#[derive(Debug)]
pub struct Walk {
    limit: usize,
    pending: Vec<Edge>,
    visited: BTreeSet<Edge>,
}

/// A repository has more delegations than a walk may visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the repository has more than {limit} delegations")]
pub struct TooManyDelegations {
    /// The limit.
    pub limit: usize,
}

impl Walk {
    /// Starts a walk over no more than `limit` delegations.
    pub fn new(limit: usize) -> Self {
        Self { limit, pending: vec![Edge::top()], visited: BTreeSet::new() }
    }

    /// The next delegation whose role is not trusted by its delegator's word yet; `None` when all are.
    pub fn step(&mut self, trusted: &TrustedMetadata) -> Result<Option<Edge>, TooManyDelegations> {
        while let Some(edge) = self.pending.pop() {
            if self.visited.contains(&edge) {
                continue;
            }
            if self.visited.len() >= self.limit {
                return Err(TooManyDelegations { limit: self.limit });
            }
            let Some(targets) = trusted.targets_by(&edge.role, &edge.delegator) else {
                self.pending.push(edge.clone());
                return Ok(Some(edge));
            };
            if let Some(delegations) = &targets.delegations {
                let names = delegations.names(self.limit.saturating_add(1));
                let delegator = &edge.role;
                self.pending.extend(
                    names.into_iter().rev().map(|role| Edge { role, delegator: delegator.clone() }),
                );
            }
            self.visited.insert(edge);
        }
        Ok(None)
    }
}
