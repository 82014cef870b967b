//! Which boot this is, and who is logged on.

use std::path::Path;

use super::rooted::Root;
use super::system::value;
use super::{Error, MAX_SMALL};

/// Drawn by the kernel at every boot.
const BOOT: &str = "proc/sys/kernel/random/boot_id";

/// Where systemd-logind keeps a file for each session.
const SESSIONS: &str = "run/systemd/sessions";

/// More sessions than a host has.
const MAX_SESSIONS: usize = 4096;

/// What names the boot that a system is in; `None` where it runs no kernel. Blocks.
///
/// # Errors
/// A file that cannot be read.
pub fn boot(root: &Path) -> Result<Option<String>, Error> {
    let text = Root::open(root)?.text(BOOT, MAX_SMALL)?;
    Ok(text.map(|text| text.trim().to_owned()).filter(|id| !id.is_empty()))
}

/// How many sessions of people there are; `None` where nothing counts them. Blocks.
///
/// # Errors
/// A file that cannot be read.
pub fn people(root: &Path) -> Result<Option<usize>, Error> {
    let root = Root::open(root)?;
    if !root.has(SESSIONS) {
        return Ok(None);
    }
    let mut people = 0;
    for name in root.names(SESSIONS, "", MAX_SESSIONS)? {
        // Beside a session lies the pipe that ends with it, `3.ref`.
        if name.contains('.') {
            continue;
        }
        // It may have ended since.
        let text = root.text(&format!("{SESSIONS}/{name}"), MAX_SMALL)?.unwrap_or_default();
        let is = |key, word: &str| value(&text, key).is_some_and(|found| found.starts_with(word));
        // Services and the login screen have classes of their own.
        people += usize::from(is("CLASS", "user") && !is("STATE", "closing"));
    }
    Ok(Some(people))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn people_count_and_services_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(people(folder.path()).expect("looked"), None);
        assert_eq!(boot(folder.path()).expect("looked"), None);
        let sessions = folder.path().join(SESSIONS);
        fs::create_dir_all(&sessions).expect("a folder");
        assert_eq!(people(folder.path()).expect("looked"), Some(0));
        for (name, state, class) in [
            ("3", "active", "user"),
            ("c1", "online", "user-early"),
            ("4", "closing", "user"),
            ("c2", "active", "greeter"),
            ("5", "active", "manager"),
            ("6", "active", "background"),
        ] {
            let head = "# This is private data. Do not parse.\nUID=1000\nUSER=ann\nACTIVE=1";
            let text = format!("{head}\nSTATE={state}\nREMOTE=0\nTYPE=tty\nCLASS={class}\n");
            fs::write(sessions.join(name), text).expect("written");
        }
        fs::write(sessions.join("3.ref"), "").expect("written");
        assert_eq!(people(folder.path()).expect("looked"), Some(2));
    }

    #[test]
    fn this_system_is_in_some_boot() {
        let id = boot(Path::new("/")).expect("looked").expect("a boot");
        assert_eq!(id.len(), 36, "{id}");
    }
}
