//! Subscriptions: which of what is approved a node carries, and which of what
//! a vendor releases the mesh fetches.
//!
//! A subscription narrows content, never decisions: approval sets, views and
//! documents are the same everywhere. Four dimensions, each a set of words; an
//! empty one takes everything. A payload that states nothing in a dimension
//! (no language, the architecture `all`) is for everybody, and so is a
//! revision that names no product.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::{NodeName, SourceName};
use crate::node::{Mesh, Role, Stage};
use crate::revision::{Classification, Payload, Revision};

/// The most words of one dimension.
pub const MAX_WORDS: usize = 256;

/// The longest product, language or architecture, in bytes.
pub const MAX_WORD: usize = 128;

/// Architectures of files that are for every machine.
pub(crate) const EVERY_ARCHITECTURE: [&str; 5] = ["", "all", "any", "neutral", "noarch"];

/// What is carried or fetched. The default takes everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Products, as vendors write them; upper and lower case are alike.
    pub products: BTreeSet<String>,
    /// Kinds of update.
    pub classifications: BTreeSet<Classification>,
    /// BCP 47 tags. `fr` takes `fr-CA` too, and `fr-CA` takes plain `fr`.
    pub languages: BTreeSet<String>,
    /// Architectures, as vendors write them.
    pub architectures: BTreeSet<String>,
}

/// Why a subscription cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A word that no vendor could have written.
    #[error(
        "{kind} {text:?} cannot be subscribed to; write 1 to {MAX_WORD} characters without blanks at the ends or control characters"
    )]
    Word {
        /// The dimension.
        kind: &'static str,
        /// The word.
        text: String,
    },
    /// More words than anyone needs.
    #[error("{count} {kind}s in one subscription; at most {MAX_WORDS} are possible")]
    Many {
        /// The dimension.
        kind: &'static str,
        /// How many.
        count: usize,
    },
}

impl Subscription {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `payload` of `revision` is taken.
    #[must_use]
    pub fn admits(&self, revision: &Revision, payload: &Payload) -> bool {
        self.admits_revision(revision)
            && self.admits_language(revision, payload)
            && (self.architectures.is_empty()
                || EVERY_ARCHITECTURE.contains(&payload.architecture.as_str())
                || self.architectures.contains(&payload.architecture))
    }

    /// Whether `revision` is of a product and kind that is taken.
    #[must_use]
    pub fn admits_revision(&self, revision: &Revision) -> bool {
        let products = &revision.facts.products;
        let of_product = self.products.is_empty()
            || products.is_empty()
            || products
                .iter()
                .any(|one| self.products.iter().any(|wanted| wanted.eq_ignore_ascii_case(one)));
        of_product
            && (self.classifications.is_empty()
                || self.classifications.contains(&revision.classification()))
    }

    /// A payload's own language counts, else those of its revision.
    fn admits_language(&self, revision: &Revision, payload: &Payload) -> bool {
        if self.languages.is_empty() {
            return true;
        }
        let wanted = |tag: &str| self.languages.iter().any(|one| are_related(one, tag));
        if !payload.language.is_empty() {
            return wanted(&payload.language);
        }
        let languages = &revision.facts.languages;
        languages.is_empty() || languages.iter().any(|tag| wanted(tag))
    }

    /// Checks the words.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn validate(&self) -> Result<(), Error> {
        let dimensions = [
            ("product", &self.products),
            ("language", &self.languages),
            ("architecture", &self.architectures),
        ];
        for (kind, words) in dimensions {
            if words.len() > MAX_WORDS {
                return Err(Error::Many { kind, count: words.len() });
            }
            if let Some(text) = words.iter().find(|word| !is_word(word)) {
                return Err(Error::Word { kind, text: text.clone() });
            }
        }
        Ok(())
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_WORD
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

/// Whether one tag is the other or begins it, subtag by subtag.
#[must_use]
pub fn are_related(one: &str, other: &str) -> bool {
    let mut pairs = one.split('-').zip(other.split('-'));
    pairs.all(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// What the machines of one node need: these stages, narrowed by its
/// subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The stages that the node serves.
    pub stages: BTreeSet<Stage>,
    /// What it takes of them.
    pub subscription: Subscription,
}

/// What a node has to carry: what it and every node below it need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried {
    demands: Vec<Demand>,
    sources: BTreeMap<SourceName, Subscription>,
}

impl Carried {
    /// Whether `payload` of `revision`, which is approved in `stage`, is
    /// carried.
    #[must_use]
    pub fn takes(&self, stage: Stage, revision: &Revision, payload: &Payload) -> bool {
        let source = self.sources.get(&revision.id.update.source);
        source.is_none_or(|source| source.admits(revision, payload))
            && self.demands.iter().any(|demand| {
                demand.stages.contains(&stage) && demand.subscription.admits(revision, payload)
            })
    }
}

impl Mesh {
    /// What `name` has to carry: a parent carries the union of what its subtree
    /// needs, the primary everything that is fetched from the sources. Whoever
    /// is shut out, and whatever hangs below it, counts no more.
    #[must_use]
    pub fn carried(&self, name: &NodeName) -> Carried {
        let is_primary =
            self.node(name).is_some_and(|node| node.role == Role::Primary) || self.is_standby(name);
        let mut demands: Vec<Demand> = Vec::new();
        if is_primary {
            let all = Stage::ALL.into();
            demands.push(Demand { stages: all, subscription: Subscription::default() });
        } else {
            for node in self.taking_part(name) {
                let demand =
                    Demand { stages: node.stages.clone(), subscription: node.subscription.clone() };
                if !demands.contains(&demand) {
                    demands.push(demand);
                }
            }
        }
        Carried { demands, sources: self.source_subscriptions.clone() }
    }

    /// Whether `payload` is fetched from the vendor of `revision`.
    #[must_use]
    pub fn is_fetched(&self, revision: &Revision, payload: &Payload) -> bool {
        let source = self.source_subscriptions.get(&revision.id.update.source);
        source.is_none_or(|source| source.admits(revision, payload))
    }

    /// `revision` without the payloads that are not fetched; `None` where that
    /// is all of it, as it stands.
    #[must_use]
    pub fn narrowed(&self, revision: &Revision) -> Option<Revision> {
        if revision.payloads.iter().all(|payload| self.is_fetched(revision, payload)) {
            return None;
        }
        let mut narrowed = revision.clone();
        narrowed.payloads.retain(|payload| self.is_fetched(revision, payload));
        Some(narrowed)
    }

    /// The mesh with another subscription of a node.
    ///
    /// # Errors
    /// No such node, or words that cannot be used.
    pub fn subscribe_node(
        &self,
        name: &NodeName,
        subscription: Subscription,
    ) -> Result<Self, Rejection> {
        subscription.validate()?;
        let mut mesh = self.clone();
        let node = mesh.nodes.get_mut(name).ok_or_else(|| Rejection::NoNode(name.clone()))?;
        if node.role == Role::Primary {
            return Err(Rejection::Primary(name.clone()));
        }
        node.subscription = subscription;
        Ok(mesh)
    }

    /// The mesh with another subscription of a source.
    ///
    /// # Errors
    /// Words that cannot be used.
    pub fn subscribe_source(
        &self,
        name: &SourceName,
        subscription: Subscription,
    ) -> Result<Self, Rejection> {
        subscription.validate()?;
        let mut mesh = self.clone();
        if subscription.is_everything() {
            mesh.source_subscriptions.remove(name);
        } else {
            mesh.source_subscriptions.insert(name.clone(), subscription);
        }
        Ok(mesh)
    }
}

/// Why a subscription was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such node.
    #[error("there is no node {0}; `patchmesh nodes` shows those there are")]
    NoNode(NodeName),
    /// The primary's store is the mesh's archive.
    #[error("{0} is the primary, which keeps everything; subscribe its sources instead")]
    Primary(NodeName),
    /// The words cannot be used.
    #[error(transparent)]
    Words(#[from] Error),
}

#[cfg(test)]
mod tests;
