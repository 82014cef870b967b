//! Subscriptions on the command line: `node subscribe` and `source subscribe`
//! take the same words and answer alike.

use clap::{ArgGroup, Args};
use patchmesh_proto::wire;
use patchmesh_topology::revision::Classification;
use patchmesh_topology::subscription::Subscription;
use serde::Serialize;

use super::answer;
use super::exit::Exit;
use super::output::Answer;

// What is to be taken. No doc comment: clap would take it for the description
// of the command that this is flattened into.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("taken").required(true).multiple(true)))]
pub(crate) struct Words {
    /// Products, as vendors write them; none: every one
    #[arg(long = "product", value_name = "PRODUCT", value_delimiter = ',', group = "taken")]
    products: Vec<String>,
    /// Kinds of update, such as security; none: every one
    #[arg(long = "classification", value_name = "KIND", value_delimiter = ',', group = "taken")]
    classifications: Vec<Classification>,
    /// Languages: fr takes fr-CA too, fr-CA takes plain fr; none: every one
    #[arg(long = "language", value_name = "TAG", value_delimiter = ',', group = "taken")]
    languages: Vec<String>,
    /// Architectures, as vendors write them; none: every one
    #[arg(
        long = "architecture",
        value_name = "ARCHITECTURE",
        value_delimiter = ',',
        group = "taken"
    )]
    architectures: Vec<String>,
    /// Take everything, as before any subscription
    #[arg(long, group = "taken", conflicts_with_all = ["products", "classifications", "languages", "architectures"])]
    everything: bool,
}

impl Words {
    /// As the wire has it; `None` is everything.
    pub(crate) fn to_wire(&self) -> anyhow::Result<Option<wire::Subscription>> {
        let set = |list: &[String]| list.iter().map(|word| word.trim().to_owned()).collect();
        let subscription = Subscription {
            products: set(&self.products),
            classifications: self.classifications.iter().copied().collect(),
            languages: set(&self.languages),
            architectures: set(&self.architectures),
        };
        subscription.validate().map_err(|error| Exit::Usage.error(error.to_string()))?;
        Ok((!subscription.is_everything()).then(|| (&subscription).into()))
    }
}

/// A subscription in JSON; empty lists take everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    pub(crate) products: Vec<String>,
    pub(crate) classifications: Vec<&'static str>,
    pub(crate) languages: Vec<String>,
    pub(crate) architectures: Vec<String>,
}

impl From<wire::Subscription> for Shown {
    fn from(one: wire::Subscription) -> Self {
        Self {
            classifications: one.classifications().map(answer::classification).collect(),
            products: one.products,
            languages: one.languages,
            architectures: one.architectures,
        }
    }
}

impl Shown {
    /// `windows-11; fr` or `everything`.
    pub(crate) fn line(&self) -> String {
        let kinds: Vec<String> = self.classifications.iter().map(|&one| one.to_owned()).collect();
        let lists = [&self.products, &kinds, &self.languages, &self.architectures];
        let parts: Vec<String> =
            lists.iter().filter(|list| !list.is_empty()).map(|list| list.join(",")).collect();
        if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") }
    }
}

/// What was changed.
#[derive(Debug, Serialize)]
pub(crate) struct Subscribed {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) subscription: Shown,
}

impl Answer for Subscribed {
    fn text(&self) -> String {
        format!(
            "{} takes {} from generation {} on\n",
            self.name,
            self.subscription.line(),
            self.generation
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_reads_as_it_was_given() {
        let words = Words {
            products: vec!["windows-11".into()],
            classifications: vec![Classification::Security],
            languages: vec!["fr".into(), "de".into()],
            architectures: Vec::new(),
            everything: false,
        };
        let wire = words.to_wire().expect("words").expect("narrowed");
        let shown = Shown::from(wire);
        assert_eq!(shown.line(), "windows-11; security; de,fr");
        assert_eq!(Shown::from(wire::Subscription::default()).line(), "everything");
        let odd = Words { products: vec!["a\nb".into()], ..words };
        assert!(odd.to_wire().is_err());
    }
}
