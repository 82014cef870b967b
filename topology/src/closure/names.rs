//! Names of packages as numbers, so that what is asked often is looked up by place.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;

use crate::debian::relation::Relation;

/// What there is of a name.
#[derive(Default)]
pub(super) struct Name<'a> {
    /// The packages called so, the highest version last.
    pub(super) all: Vec<usize>,
    /// The one of them that counts.
    pub(super) top: Option<usize>,
    /// Whether machines have it.
    pub(super) is_installed: bool,
    /// The packages that provide it, each with the version that it provides.
    pub(super) providers: Vec<(usize, Option<&'a str>)>,
    /// The packages that name it in a clause.
    pub(super) dependents: Vec<usize>,
}

/// All names that somebody used.
#[derive(Default)]
pub(super) struct Names<'a> {
    ids: HashMap<&'a str, usize>,
    list: Vec<Name<'a>>,
}

impl<'a> Names<'a> {
    /// The number of a name.
    pub(super) fn id(&mut self, name: &'a str) -> usize {
        let next = self.list.len();
        let id = *self.ids.entry(name).or_insert(next);
        if id == next {
            self.list.push(Name::default());
        }
        id
    }

    pub(super) fn of(&self, id: usize) -> &Name<'a> {
        &self.list[id]
    }

    pub(super) fn of_mut(&mut self, id: usize) -> &mut Name<'a> {
        &mut self.list[id]
    }

    pub(super) fn named(&mut self, relation: Relation<'a>) -> Named<'a> {
        Named { id: self.id(relation.name), relation }
    }
}

/// A relation with the number of the name in it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) id: usize,
    relation: Relation<'a>,
}

/// Alternatives, of which one is enough.
pub(super) type Clause<'a> = Vec<Named<'a>>;

impl Named<'_> {
    /// The same for every architecture.
    pub(super) fn plain(self) -> Self {
        Self { relation: Relation { qualifier: None, ..self.relation }, ..self }
    }
}

impl<'a> Deref for Named<'a> {
    type Target = Relation<'a>;

    fn deref(&self) -> &Relation<'a> {
        &self.relation
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.relation.fmt(f)
    }
}
