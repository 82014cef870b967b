//! Services that begin with the system: what systemd's targets want or require, by the
//! links that `systemctl enable` makes, and what a runlevel of System V starts.

use super::Error;
use super::rooted::Root;

/// Where `systemctl enable` makes its links.
const SYSTEMD: &str = "etc/systemd/system";

/// What targets, and other units, want and require.
const BY: [&str; 2] = [".wants", ".requires"];

/// Folders of links, and links in each.
const MAX_FOLDERS: usize = 1024;
const MAX_LINKS: usize = 4096;

/// The runlevel of a system with several users, by Debian and by others.
const RUNLEVELS: [&str; 2] = ["etc/rc2.d", "etc/rc.d/rc3.d"];

/// Their names, sorted; empty where nothing says so.
pub(super) fn read(root: &Root) -> Result<Vec<String>, Error> {
    let mut services = Vec::new();
    for ending in BY {
        for folder in root.names(SYSTEMD, ending, MAX_FOLDERS)? {
            let links = root.names(&format!("{SYSTEMD}/{folder}"), ".service", MAX_LINKS)?;
            let named = links.iter().filter_map(|link| link.strip_suffix(".service"));
            services.extend(named.map(str::to_owned));
        }
    }
    for runlevel in RUNLEVELS {
        let links = root.names(runlevel, "", MAX_LINKS)?;
        services.extend(links.iter().filter_map(|link| started(link)));
    }
    services.sort();
    services.dedup();
    Ok(services)
}

/// The service of a link such as `S03cron`.
fn started(link: &str) -> Option<String> {
    let (order, name) = link.strip_prefix('S')?.split_at_checked(2)?;
    let is_order = order.bytes().all(|byte| byte.is_ascii_digit());
    (is_order && !name.is_empty()).then(|| name.to_owned())
}
