//! An inventory as it is printed, digested, sent and kept.

use std::collections::BTreeMap;

use patchmesh_proto::report as wire;
use patchmesh_topology::applicability::inventory::{Format, Inventory, Package};
use patchmesh_topology::digest::Digest;
use prost::Message;
use serde::Serialize;

/// The largest one that a node takes, in bytes: some 15,000 packages.
pub const MAX_SENT: usize = 1 << 20;

/// Characters of a text in one that a node takes.
const MAX_TEXT: usize = 512;

/// What is known of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Such as `debian`.
    pub os: String,
    /// Such as `12`.
    pub os_version: String,
    /// What it is built for comes first.
    pub architectures: Vec<String>,
    /// BCP 47 tags.
    pub languages: Vec<String>,
    /// Such as `debian-12`.
    pub products: Vec<String>,
    /// What begins with the system.
    pub services: Vec<String>,
    /// By name, then as their manager has them.
    pub packages: Vec<ListedPackage>,
    /// What the machine's administrator states.
    pub facts: BTreeMap<String, String>,
    /// Whether it has to restart.
    pub reboot_needed: bool,
}

/// A package of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedPackage {
    /// Its name.
    pub name: String,
    /// `deb` or `rpm`.
    pub format: &'static str,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// What is wrong with it; empty where nothing is.
    pub fault: String,
    /// Whether it is kept as it is.
    pub held: bool,
}

/// Why an inventory that came is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// There is none.
    #[error("there is no inventory")]
    None,
    /// Longer than any.
    #[error("it has {0} bytes; at most {MAX_SENT} are taken")]
    Long(usize),
    /// A text that is too long or would garble a terminal.
    #[error("a text in it has a control character or more than {MAX_TEXT} characters")]
    Text,
    /// A package that nobody knows how to compare.
    #[error("package {0} is of a format that is not known here")]
    Format(String),
}

impl From<&Inventory> for Listing {
    fn from(inventory: &Inventory) -> Self {
        let listed = |(name, one): (&String, &Package)| ListedPackage {
            name: name.clone(),
            format: one.format.as_str(),
            architecture: one.architecture.clone(),
            version: one.version.clone(),
            fault: one.fault.clone(),
            held: one.held,
        };
        let packages = inventory
            .packages
            .iter()
            .flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
        Self {
            os: inventory.os.clone(),
            os_version: inventory.os_version.clone(),
            architectures: inventory.architectures.clone(),
            languages: inventory.languages.clone(),
            products: inventory.products.clone(),
            services: inventory.services.clone(),
            packages: packages.map(listed).collect(),
            facts: inventory.facts.clone(),
            reboot_needed: inventory.reboot_needed,
        }
    }
}

impl Listing {
    /// A digest of all of it: equal digests, equal inventories.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Texts, numbers and lists always become JSON.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl From<Listing> for wire::Inventory {
    fn from(listing: Listing) -> Self {
        Self {
            os: listing.os,
            os_version: listing.os_version,
            architectures: listing.architectures,
            languages: listing.languages,
            products: listing.products,
            services: listing.services,
            packages: listing.packages.into_iter().map(Into::into).collect(),
            facts: listing.facts.into_iter().collect(),
            reboot_needed: listing.reboot_needed,
        }
    }
}

impl From<ListedPackage> for wire::InstalledPackage {
    fn from(one: ListedPackage) -> Self {
        let ListedPackage { name, format, architecture, version, fault, held } = one;
        Self { name, format: format.to_owned(), architecture, version, fault, held }
    }
}

impl TryFrom<wire::Inventory> for Listing {
    type Error = Unfit;

    fn try_from(sent: wire::Inventory) -> Result<Self, Unfit> {
        let length = sent.encoded_len();
        if length > MAX_SENT {
            return Err(Unfit::Long(length));
        }
        let listing = Self {
            os: sent.os,
            os_version: sent.os_version,
            architectures: sent.architectures,
            languages: sent.languages,
            products: sent.products,
            services: sent.services,
            packages: sent.packages.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            facts: sent.facts.into_iter().collect(),
            reboot_needed: sent.reboot_needed,
        };
        let lists =
            [&listing.architectures, &listing.languages, &listing.products, &listing.services];
        let texts = lists.into_iter().flatten().chain([&listing.os, &listing.os_version]);
        let stated = listing.facts.iter().flat_map(|(name, value)| [name, value]);
        let packages = listing
            .packages
            .iter()
            .flat_map(|one| [&one.name, &one.architecture, &one.version, &one.fault]);
        let is_unfit = !texts.chain(stated).chain(packages).all(|text| is_fit(text));
        if is_unfit { Err(Unfit::Text) } else { Ok(listing) }
    }
}

impl TryFrom<wire::InstalledPackage> for ListedPackage {
    type Error = Unfit;

    fn try_from(one: wire::InstalledPackage) -> Result<Self, Unfit> {
        let wire::InstalledPackage { name, format, architecture, version, fault, held } = one;
        let known = [Format::Deb, Format::Rpm].map(Format::as_str);
        let format = known.into_iter().find(|known| *known == format);
        let format = format.ok_or_else(|| Unfit::Format(name.clone()))?;
        Ok(Self { name, format, architecture, version, fault, held })
    }
}

/// How a package is there, in a word.
#[must_use]
pub fn state_of(fault: &str, held: bool) -> &str {
    match (fault, held) {
        ("", false) => "installed",
        ("", true) => "held",
        (fault, _) => fault,
    }
}

fn is_fit(text: &str) -> bool {
    text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let package = ListedPackage {
            name: "nginx".to_owned(),
            format: "deb",
            architecture: "amd64".to_owned(),
            version: "1:1.22.1-9".to_owned(),
            fault: "half-configured".to_owned(),
            held: true,
        };
        Listing {
            os: "debian".to_owned(),
            os_version: "12".to_owned(),
            architectures: vec!["amd64".to_owned(), "i386".to_owned()],
            languages: vec!["fr-CA".to_owned()],
            products: vec!["till".to_owned()],
            services: vec!["nginx".to_owned()],
            packages: vec![package],
            facts: BTreeMap::from([("exposure".to_owned(), "internet".to_owned())]),
            reboot_needed: true,
        }
    }

    #[test]
    fn what_is_sent_is_what_was_found_with_the_same_digest() {
        let sent = wire::Inventory::from(listing());
        let read = wire::Inventory::decode(&sent.encode_to_vec()[..]).expect("read");
        let came = Listing::try_from(read).expect("taken");
        assert_eq!((&came, came.digest()), (&listing(), listing().digest()));
    }

    #[test]
    fn what_would_harm_a_node_or_a_terminal_is_not_taken() {
        let unfit = |change: &dyn Fn(&mut wire::Inventory)| {
            let mut sent = wire::Inventory::from(listing());
            change(&mut sent);
            Listing::try_from(sent).expect_err("unfit")
        };
        let garbling = "\u{1b}[2J".to_owned();
        assert_eq!(unfit(&|sent| sent.os = garbling.clone()), Unfit::Text);
        assert_eq!(unfit(&|sent| sent.packages[0].version = garbling.clone()), Unfit::Text);
        assert_eq!(
            unfit(&|sent| drop(sent.facts.insert("a".into(), "x".repeat(513)))),
            Unfit::Text
        );
        let format = unfit(&|sent| sent.packages[0].format = "msi".to_owned());
        assert_eq!(format, Unfit::Format("nginx".to_owned()));
        let long = unfit(&|sent| sent.services = vec!["x".repeat(500); 3000]);
        assert!(matches!(long, Unfit::Long(length) if length > MAX_SENT), "{long}");
    }
}
