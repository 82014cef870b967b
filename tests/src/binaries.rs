//! Where the built programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Names another folder of programs than the one that this test was built into.
pub const FOLDER_VARIABLE: &str = "PATCHMESH_BIN_DIR";

/// The folder of the build's profile, such as `target/debug`.
///
/// # Errors
/// When this program does not lie in such a folder.
pub fn profile_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().context("could not learn the path of this test")?;
    let folder = this.parent().context("a program lies in a folder")?;
    // Tests lie in `deps`, the benchmark lies beside the other programs.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// Cargo's target folder: what is made here survives the test.
///
/// # Errors
/// When this program does not lie in such a folder.
pub fn target_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    Ok(profile.parent().map_or_else(|| profile.clone(), Path::to_owned))
}

/// The path of a built program.
///
/// # Errors
/// When it was not built.
pub fn find(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os(FOLDER_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => profile_folder()?,
    };
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is not there; run `make build` or point {FOLDER_VARIABLE} to a folder that has it",
        path.display()
    );
    Ok(path)
}

/// The daemon and its command line.
///
/// # Errors
/// When it was not built.
pub fn patchmesh() -> Result<PathBuf> {
    find("patchmesh")
}

/// The agent, as the program of its own that machines get.
///
/// # Errors
/// When it was not built.
pub fn agent() -> Result<PathBuf> {
    find("patchmesh-agent")
}

/// The agent as `make agent` builds it, alone and in the release profile.
///
/// # Errors
/// When it was not built.
pub fn agent_alone() -> Result<PathBuf> {
    let path = target_folder()?.join("release/patchmesh-agent");
    ensure!(path.is_file(), "{} is not there; run `make agent`", path.display());
    Ok(path)
}

/// The TUF client.
///
/// # Errors
/// When it was not built.
pub fn tuf_client() -> Result<PathBuf> {
    find("tuf-client")
}
