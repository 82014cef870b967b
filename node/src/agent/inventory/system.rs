//! The operating system, its language, and whether it waits for a restart.

use patchmesh_topology::applicability::Inventory;

use super::rooted::Root;
use super::{Error, MAX_SMALL};

/// Where os-release(5) says that it is, the first that there is.
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Where distributions keep the language; the first that there is.
const LOCALES: [&str; 2] = ["etc/default/locale", "etc/locale.conf"];

/// What distributions leave when a restart is due.
const MARKERS: [&str; 2] = ["run/reboot-required", "var/run/reboot-required"];

/// Which system it is, and the product that it makes: `ID-MAJOR`, such as
/// `debian-12` or `rhel-9`.
pub(super) fn release(root: &Root, inventory: &mut Inventory) -> Result<(), Error> {
    let Some(text) = first(root, &RELEASES)? else { return Ok(()) };
    inventory.os = value(&text, "ID").unwrap_or_default();
    inventory.os_version = value(&text, "VERSION_ID").unwrap_or_default();
    let major = inventory.os_version.split('.').next().unwrap_or_default();
    if !inventory.os.is_empty() && !major.is_empty() {
        inventory.products.push(format!("{}-{major}", inventory.os));
    }
    Ok(())
}

/// The language of the system: `fr-CA` for `fr_CA.UTF-8`. `C` and `POSIX` are
/// none.
pub(super) fn languages(root: &Root) -> Result<Vec<String>, Error> {
    let text = first(root, &LOCALES)?.unwrap_or_default();
    let locale = value(&text, "LANG").unwrap_or_default();
    let tag = locale.split(['.', '@']).next().unwrap_or_default().replace('_', "-");
    let is_tag = tag.len() >= 2 && tag != "POSIX";
    let is_plain = tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    Ok(if is_tag && is_plain { vec![tag] } else { Vec::new() })
}

pub(super) fn needs_reboot(root: &Root) -> bool {
    MARKERS.iter().any(|marker| root.has(marker))
}

fn first(root: &Root, paths: &[&str]) -> Result<Option<String>, Error> {
    for path in paths {
        if let Some(text) = root.text(path, MAX_SMALL)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The value of a shell assignment, quotes taken off.
pub(super) fn value(text: &str, name: &str) -> Option<String> {
    let mut assigned = text.lines().filter_map(|line| line.trim().split_once('='));
    let (_, value) = assigned.rfind(|(found, _)| *found == name)?;
    let value = value.trim().trim_matches(['"', '\'']);
    (value.len() <= 128).then(|| value.to_owned())
}
