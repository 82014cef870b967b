//! What the kernel knows of a process.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// A field of `/proc/ID/status` that is counted in KiB, such as `VmRSS` (what is in
/// memory) or `RssAnon` (of that, what no file stands behind).
///
/// # Errors
/// When there is no such process, or no such field.
pub(super) fn kib(id: u32, field: &str) -> Result<f64> {
    number(&fs::read_to_string(format!("/proc/{id}/status"))?, field)
}

/// How often each of its threads gave up a processor by itself, after something
/// had woken it, by the thread's number.
///
/// # Errors
/// When there is no such process.
pub(super) fn waits(id: u32) -> Result<BTreeMap<String, f64>> {
    let mut waits = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let thread = thread?;
        let status = fs::read_to_string(thread.path().join("status"))?;
        let name = thread.file_name().to_string_lossy().into_owned();
        waits.insert(name, number(&status, "voluntary_ctxt_switches")?);
    }
    Ok(waits)
}

fn number(status: &str, field: &str) -> Result<f64> {
    let of = |line: &str| {
        let rest = line.strip_prefix(field)?.strip_prefix(':')?;
        rest.trim().trim_end_matches("kB").trim().parse().ok()
    };
    status.lines().find_map(of).with_context(|| format!("the kernel tells no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_kernel_writes_them() {
        let status = "VmRSS:\t 9 kB\nRssAnon:\t    2048 kB\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(number(status, "RssAnon").ok(), Some(2048.0));
        assert_eq!(number(status, "voluntary_ctxt_switches").ok(), Some(7.0));
        assert!(number(status, "Rss").is_err());
    }
}
