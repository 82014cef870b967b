//! Debian packages, with dpkg.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::{Outcome, run};

/// What others hold while they work with packages, or with dpkg's database.
const LOCKS: [&str; 2] = ["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"];

/// How long is waited for them. After that dpkg says itself that it cannot work.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// Installs packages, all in one call so that dpkg finds their order.
pub async fn install(root: &Path, files: &[PathBuf], limit: Duration) -> Outcome {
    let mut command = Command::new("dpkg");
    command
        .arg("--root")
        .arg(root)
        // Settings that somebody changed stay as they are, and nobody is asked. What a
        // package breaks is installed anew in the same call, or this is not called.
        .args(["--force-confdef", "--force-confold", "--auto-deconfigure", "--install"])
        .args(files);
    until_free(root).await;
    run(command, limit).await
}

/// Removes packages, by their names; settings stay.
pub async fn remove(root: &Path, names: &[String], limit: Duration) -> Outcome {
    let mut command = Command::new("dpkg");
    command.arg("--root").arg(root).arg("--remove").args(names);
    until_free(root).await;
    run(command, limit).await
}

/// Waits while somebody else works with packages, such as apt, or a dpkg that went on when
/// the agent before this one was killed.
async fn until_free(root: &Path) {
    let begun = Instant::now();
    let mut is_said = false;
    while let Some(lock) = LOCKS.iter().find(|lock| is_held(&root.join(lock))) {
        if begun.elapsed() >= PATIENCE {
            return;
        }
        if !is_said {
            tracing::info!(
                lock,
                "somebody else works with this machine's packages: they are waited for"
            );
            is_said = true;
        }
        sleep(LOOK).await;
    }
}

/// Whether another process holds a lock; what cannot be looked at is for dpkg to say.
fn is_held(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
    // It is given back with the file.
    let locked = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
    matches!(locked, Err(Errno::AGAIN | Errno::ACCESS))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    #[tokio::test]
    async fn whoever_works_with_packages_is_waited_for() {
        let root = tempfile::tempdir().expect("a folder");
        until_free(root.path()).await;
        let lock = root.path().join(LOCKS[0]);
        fs::create_dir_all(lock.parent().expect("a folder")).expect("made");
        fs::write(&lock, "").expect("written");
        assert!(!is_held(&lock));
        let holds = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); \
                     print('held', flush=True); sys.stdin.read()";
        let mut other = Command::new("python3")
            .args(["-c", holds])
            .arg(&lock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("started");
        let mut said = BufReader::new(other.stdout.take().expect("output")).lines();
        assert_eq!(said.next_line().await.expect("a line").as_deref(), Some("held"));
        assert!(is_held(&lock));
        let folder = root.path().to_owned();
        let waits = tokio::spawn(async move { until_free(&folder).await });
        sleep(LOOK / 4).await;
        assert!(!waits.is_finished() && is_held(&lock));
        drop(other.stdin.take());
        assert!(other.wait().await.expect("ended").success());
        waits.await.expect("it goes on");
    }
}
