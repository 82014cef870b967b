//! The programs of the distribution that the demo uses: to play the vendor and
//! to be the machines.

use super::Error;

/// A program and the Debian package that has it.
const TOOLS: [(&str, &str); 6] = [
    ("apt-get", "apt"),
    ("apt-ftparchive", "apt-utils"),
    ("dpkg-deb", "dpkg"),
    ("gpg", "gnupg"),
    ("gpgv", "gpgv"),
    ("curl", "curl"),
];

/// Fails with the command that installs what is missing.
pub(super) fn check() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    missing(is_there)
}

fn missing(is_there: impl Fn(&str) -> bool) -> Result<(), Error> {
    let missing: Vec<_> = TOOLS.into_iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let join = |words: Vec<&str>, mark| words.join(mark);
    Err(Error::Tools {
        missing: join(missing.iter().map(|(program, _)| *program).collect(), ", "),
        install: format!(
            "apt-get install {}",
            join(missing.iter().map(|(_, package)| *package).collect(), " ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_a_way_to_get_it() {
        assert!(missing(|_| true).is_ok());
        let text = missing(|program| program != "apt-ftparchive").expect_err("missing").to_string();
        assert!(
            text.contains("apt-ftparchive") && text.contains("apt-get install apt-utils"),
            "{text}"
        );
    }
}
