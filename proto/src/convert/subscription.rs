//! Subscriptions.

use patchmesh_topology::subscription::Subscription;

use super::facts::{ascending, classification};
use super::{At, Error, Fault, each};
use crate::wire;

/// Unset is everything.
pub(super) fn optional(value: Option<wire::Subscription>) -> Result<Subscription, Error> {
    value.map_or_else(|| Ok(Subscription::default()), Subscription::try_from)
}

/// Everything is unset.
pub(super) fn optional_to_wire(subscription: &Subscription) -> Option<wire::Subscription> {
    (!subscription.is_everything()).then(|| subscription.into())
}

impl TryFrom<wire::Subscription> for Subscription {
    type Error = Error;

    fn try_from(value: wire::Subscription) -> Result<Self, Error> {
        let set = |field: &str, list| ascending(field, list).map(|list| list.into_iter().collect());
        let kinds = each("classifications", value.classifications, |one| {
            classification(one)?.ok_or_else(|| Fault::Missing.into())
        })?;
        let subscription = Self {
            products: set("products", value.products)?,
            classifications: ascending("classifications", kinds)?.into_iter().collect(),
            languages: set("languages", value.languages)?,
            architectures: set("architectures", value.architectures)?,
        };
        subscription.validate()?;
        Ok(subscription)
    }
}

impl From<&Subscription> for wire::Subscription {
    fn from(one: &Subscription) -> Self {
        let kinds = one.classifications.iter();
        Self {
            products: one.products.iter().cloned().collect(),
            classifications: kinds.map(|kind| wire::Classification::from(*kind).into()).collect(),
            languages: one.languages.iter().cloned().collect(),
            architectures: one.architectures.iter().cloned().collect(),
        }
    }
}

pub(super) fn of_sources(
    list: Vec<wire::SourceSubscription>,
) -> Result<Vec<(patchmesh_topology::name::SourceName, Subscription)>, Error> {
    each("source_subscriptions", list, |one| {
        let subscription = one.subscription.at("subscription")?;
        let subscription = Subscription::try_from(subscription).at("subscription")?;
        Ok((one.source.parse().at("source")?, subscription))
    })
}
