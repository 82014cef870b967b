//! Lists of machines that are to be kept apart, for firewalls and for programs.
//!
//! Addresses are those that nodes saw machines come from; what a machine says of
//! its address is in no list, since it might name another's.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use patchmesh_proto::admin::MachineVerdict;
use patchmesh_proto::convert;
use patchmesh_topology::compliance::Verdict;
use serde::Serialize;

/// Which verdicts are listed unless asked otherwise.
pub const LISTED: [Verdict; 1] = [Verdict::Overdue];

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Commands for `nft -f` that fill two sets of the table `inet patchmesh`.
    Nft,
    /// One address on each line.
    Plain,
    /// Machines with their verdicts and reasons.
    Json,
}

/// A word that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no list {0:?}; there are nft, plain and json")]
pub struct NoFormat(String);

impl FromStr for Format {
    type Err = NoFormat;

    fn from_str(text: &str) -> Result<Self, NoFormat> {
        match text {
            "nft" => Ok(Self::Nft),
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(NoFormat(text.to_owned())),
        }
    }
}

impl Format {
    /// What the list is to a client of HTTP.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Nft | Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// Machines that are to be kept apart.
#[derive(Debug, Default, Serialize)]
pub struct List {
    machines: Vec<Listed>,
}

/// One of them.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    group: String,
    site: String,
    verdict: String,
    seen_at: Option<Timestamp>,
    /// Where its node saw it.
    address: Option<IpAddr>,
    reasons: Vec<String>,
}

impl List {
    /// Adds a machine.
    pub fn push(&mut self, machine: MachineVerdict) {
        let reason = |need: &patchmesh_proto::admin::MachineNeed| {
            format!("{}: {}", need.revision, need.reason)
        };
        let unknown = (!machine.reason.is_empty()).then_some(machine.reason);
        self.machines.push(Listed {
            seen_at: machine.seen_at.and_then(|at| convert::time(Some(at)).ok()),
            address: machine.address.parse().ok(),
            reasons: unknown.into_iter().chain(machine.needs.iter().map(reason)).collect(),
            name: machine.name,
            group: machine.group,
            site: machine.site,
            verdict: machine.verdict,
        });
    }

    /// The list in a format, ending with a line break.
    ///
    /// # Errors
    /// What cannot be written as JSON; nothing that machines say is.
    pub fn render(&self, format: Format) -> Result<String, serde_json::Error> {
        let addresses: BTreeSet<IpAddr> =
            self.machines.iter().filter_map(|machine| machine.address).collect();
        match format {
            Format::Plain => Ok(addresses.iter().map(|address| format!("{address}\n")).collect()),
            Format::Nft => Ok(Nft { list: self, addresses }.to_string()),
            Format::Json => serde_json::to_string_pretty(self).map(|text| text + "\n"),
        }
    }
}

/// One transaction for `nft -f`: the sets are there afterwards, with exactly these
/// addresses, and rules that use them stay.
struct Nft<'a> {
    list: &'a List,
    addresses: BTreeSet<IpAddr>,
}

impl fmt::Display for Nft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without = self.list.machines.iter().filter(|one| one.address.is_none()).count();
        writeln!(
            f,
            "# {} machines, {without} of them without an address",
            self.list.machines.len()
        )?;
        f.write_str("add table inet patchmesh\n")?;
        let (four, six): (Vec<&IpAddr>, Vec<&IpAddr>) =
            self.addresses.iter().partition(|address| address.is_ipv4());
        for (set, kind, addresses) in
            [("quarantine4", "ipv4_addr", four), ("quarantine6", "ipv6_addr", six)]
        {
            writeln!(f, "add set inet patchmesh {set} {{ type {kind}; }}")?;
            writeln!(f, "flush set inet patchmesh {set}")?;
            if addresses.is_empty() {
                continue;
            }
            write!(f, "add element inet patchmesh {set} {{ ")?;
            for (index, address) in addresses.into_iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{address}")?;
            }
            f.write_str(" }\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        let mut list = List::default();
        for (name, address) in [("a", "10.0.0.7"), ("b", "fd00::1"), ("c", ""), ("d", "10.0.0.7")] {
            list.push(MachineVerdict {
                name: name.to_owned(),
                address: address.to_owned(),
                verdict: "overdue".to_owned(),
                reason: if name == "a" { "nobody knows".to_owned() } else { String::new() },
                ..MachineVerdict::default()
            });
        }
        list
    }

    #[test]
    fn firewalls_get_each_address_once() {
        let plain = list().render(Format::Plain).expect("a list");
        assert_eq!(plain, "10.0.0.7\nfd00::1\n");
        let nft = list().render(Format::Nft).expect("a list");
        assert_eq!(
            nft,
            "# 4 machines, 1 of them without an address\n\
             add table inet patchmesh\n\
             add set inet patchmesh quarantine4 { type ipv4_addr; }\n\
             flush set inet patchmesh quarantine4\n\
             add element inet patchmesh quarantine4 { 10.0.0.7 }\n\
             add set inet patchmesh quarantine6 { type ipv6_addr; }\n\
             flush set inet patchmesh quarantine6\n\
             add element inet patchmesh quarantine6 { fd00::1 }\n"
        );
        let none = List::default().render(Format::Nft).expect("a list");
        assert!(none.contains("flush set") && !none.contains("add element"), "{none}");
        assert_eq!(List::default().render(Format::Plain).expect("a list"), "");
    }

    #[test]
    fn programs_get_every_machine() {
        let json = list().render(Format::Json).expect("a list");
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["machines"].as_array().map(Vec::len), Some(4));
        assert_eq!(read["machines"][2]["address"], serde_json::Value::Null);
        assert_eq!(read["machines"][0]["reasons"], serde_json::json!(["nobody knows"]));
        assert_eq!(read["machines"][1]["reasons"], serde_json::json!([]));
    }
}
