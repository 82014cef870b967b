//! Packages out of dpkg's own list, `var/lib/dpkg/status`.
//!
//! Format: deb-control(5), and dpkg(1) for states.

use patchmesh_topology::applicability::Inventory;
use patchmesh_topology::applicability::inventory::{Format, Package};
use patchmesh_topology::debian::{Relations, field};

use super::rooted::Root;
use super::{Error, add};

const STATUS: &str = "var/lib/dpkg/status";

/// What was unpacked of each package is listed here, in `NAME.list`.
const FILES: &str = "var/lib/dpkg/info";

/// Architectures that were added, the machine's own first.
const ARCHITECTURES: &str = "var/lib/dpkg/arch";

/// A list of 60,000 packages has 60 MB.
const MAX_STATUS: u64 = 128 << 20;

/// A handful of words.
const MAX_ARCHITECTURES: u64 = 4 << 10;

/// Reads packages, and which architectures the machine runs.
pub(super) fn read(root: &Root, inventory: &mut Inventory) -> Result<(), Error> {
    let text = root.text(STATUS, MAX_STATUS)?;
    let is_empty = text.as_ref().is_none_or(|text| text.trim().is_empty());
    if is_empty && root.has_name(FILES, ".list")? {
        return Err(Error::Lost(STATUS.into()));
    }
    let Some(text) = text else { return Ok(()) };
    let mut packages = Vec::new();
    let mut line = 1;
    for stanza in text.split("\n\n") {
        if !stanza.trim().is_empty() {
            packages.extend(package(stanza, line)?);
        }
        line += stanza.matches('\n').count() + 2;
    }
    let own = |name: &str| {
        let one = packages.iter().find(|(found, _)| found == name);
        one.map(|(_, package)| package.architecture.clone())
    };
    // dpkg itself is for the architecture that it was built for.
    let native = own("dpkg").or_else(|| own("libc6"));
    add(inventory, packages, STATUS.as_ref())?;
    let added = root.text(ARCHITECTURES, MAX_ARCHITECTURES)?.unwrap_or_default();
    for one in native.into_iter().chain(added.split_whitespace().map(str::to_owned)) {
        if one != "all" && !inventory.architectures.contains(&one) {
            inventory.architectures.push(one);
        }
    }
    Ok(())
}

/// The package of a stanza; `None` where nothing of it is there but settings.
fn package(stanza: &str, line: usize) -> Result<Option<(String, Package)>, Error> {
    let fault = |what: String| Error::Content { path: STATUS.into(), line, what };
    let wanted = |name: &str| {
        field(stanza, name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| fault(format!("the package has no {name}; repair it with dpkg")))
    };
    let (name, status) = (wanted("Package")?, wanted("Status")?);
    let words: Vec<&str> = status.split_whitespace().collect();
    let [want, flag, state] = words[..] else {
        return Err(fault(format!("{status:?} is no status of a package")));
    };
    if matches!(state, "not-installed" | "config-files") {
        return Ok(None);
    }
    let fault = match (flag, state) {
        ("reinstreq", _) => "broken: it has to be installed again",
        (_, "installed" | "triggers-awaited" | "triggers-pending") => "",
        (_, state) => state,
    };
    let package = Package {
        format: Format::Deb,
        architecture: wanted("Architecture")?.to_owned(),
        version: wanted("Version")?.to_owned(),
        fault: fault.to_owned(),
        held: want == "hold",
        relations: Relations::of(stanza),
    };
    Ok(Some((name.to_owned(), package)))
}
