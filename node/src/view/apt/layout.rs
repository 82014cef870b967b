//! The names in an apt view: dists, pool paths, and what apt can take as a name.
//!
//! What always holds: a name made here is one plain path segment that needs no
//! care in a URL beyond the percent-encoding that apt itself does; a pool path
//! holds part of the content's hash, so what lies at a path never changes.

use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::Payload;

/// Hexadecimal digits of the vendor's hash in a pool path. Files whose names
/// are equal and contents are not differ here (a vendor that builds one version
/// for two suites, or releases it twice).
const HASH_DIGITS: usize = 16;

/// The longest file name kept; more would not fit common file systems.
const MAX_FILE_NAME: usize = 200;

/// The longest dist, component or architecture; real ones have some 30
/// characters. It keeps paths well below [`patchmesh_topology::view::MAX_PATH`].
const MAX_WORD: usize = 100;

/// The dist that a vendor's suite becomes: `dists/DIST/`.
///
/// A suite in apt may hold slashes (`bookworm/updates`) or be a folder (`./`);
/// slashes become `_`, as in apt's own list files, and a suite of which nothing
/// is left is called like its source. Suites of one name from several sources
/// become one dist.
#[must_use]
pub fn dist_name(source: &SourceName, suite: &str) -> String {
    let mut plain = segment(suite, |c| matches!(c, '.' | '+' | '-' | '_'));
    plain.truncate(MAX_WORD);
    match plain.trim_matches(['.', '_', '-']) {
        "" => source.as_str().to_owned(),
        name => name.to_owned(),
    }
}

/// Whether this can stand in `dists/DIST/`, as [`dist_name`] makes it.
pub(super) fn is_dist(name: &str) -> bool {
    let plain = segment(name, |c| matches!(c, '.' | '+' | '-' | '_'));
    plain == name && name.len() <= MAX_WORD && !name.trim_matches('.').is_empty()
}

/// Where a payload lies below `/apt/STAGE/GROUP/`.
///
/// The vendor's file name is kept where a URL can hold it, so that logs and
/// proxies show what people know.
pub(super) fn pool_path(source: &SourceName, payload: &Payload) -> String {
    let mut component = segment(&payload.component, |c| matches!(c, '.' | '-' | '_'));
    component.truncate(MAX_WORD);
    if component.trim_matches('.').is_empty() {
        component = "main".to_owned();
    }
    let mut hash = payload.sha256.to_string();
    hash.truncate(HASH_DIGITS);
    format!("pool/{source}/{component}/{}/{hash}/{}", prefix(&payload.package), file_name(payload))
}

/// Debian's own way to spread a pool: the first letter, four for libraries.
fn prefix(package: &str) -> &str {
    let length = if package.starts_with("lib") { 4 } else { 1 };
    package.get(..length).unwrap_or(package)
}

fn file_name(payload: &Payload) -> String {
    let vendor = payload.filename.rsplit('/').next().unwrap_or_default();
    let mut name =
        segment(vendor, |c| matches!(c, '.' | '+' | '~' | '_' | '-' | '%' | ':' | '^' | '=' | '@'));
    name.truncate(MAX_FILE_NAME);
    if name.trim_matches('.').is_empty() { "package.deb".to_owned() } else { name }
}

/// One path segment: letters, digits and what `also` allows; the rest becomes `_`.
fn segment(text: &str, also: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || also(c) { c } else { '_' }).collect()
}

/// Whether apt takes this as a package's name (Debian policy 5.6.1, and the
/// upper-case letters and `_` that vendors use against it).
pub(super) fn is_package(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))
}

/// Whether this can stand in `binary-ARCHITECTURE`.
pub(super) fn is_architecture(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && name.len() <= MAX_WORD
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchmesh_topology::digest::Sha256;

    fn payload(package: &str, component: &str, filename: &str) -> Payload {
        Payload {
            package: package.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            component: component.to_owned(),
            filename: filename.to_owned(),
            length: 1,
            sha256: Sha256::from_bytes([0xab; 32]),
            control: String::new(),
            language: String::new(),
            place: None,
        }
    }

    #[test]
    fn suites_become_plain_dists() {
        let source: SourceName = "vendor".parse().unwrap();
        for (suite, dist) in [
            ("bookworm", "bookworm"),
            ("bookworm/updates", "bookworm_updates"),
            ("./", "vendor"),
            ("", "vendor"),
            ("../..", "vendor"),
            ("stable/", "stable"),
            ("12.5+x é", "12.5+x"),
        ] {
            assert_eq!(dist_name(&source, suite), dist, "{suite:?}");
        }
    }

    #[test]
    fn pool_paths_keep_the_vendors_name_and_never_leave_the_pool() {
        let source: SourceName = "vendor".parse().unwrap();
        let path = |payload: &Payload| pool_path(&source, payload);
        assert_eq!(
            path(&payload("libfoo1", "main", "pool/f/libfoo1_2%3a1.0~rc+1_amd64.deb")),
            "pool/vendor/main/libf/abababababababab/libfoo1_2%3a1.0~rc+1_amd64.deb"
        );
        assert_eq!(
            path(&payload("x", "updates/main", "x y?.deb")),
            "pool/vendor/updates_main/x/abababababababab/x_y_.deb"
        );
        assert_eq!(
            path(&payload("lib", "..", "..")),
            "pool/vendor/main/lib/abababababababab/package.deb"
        );
    }

    #[test]
    fn no_vendor_makes_a_path_too_long_for_a_view() {
        let long = "x".repeat(5000);
        let source: SourceName = "v".repeat(63).parse().unwrap();
        let path = pool_path(&source, &payload(&long, &long, &format!("{long}.deb")));
        assert!(path.len() < 500 && patchmesh_topology::view::is_inner_path(&path));
        assert!(is_dist(&dist_name(&source, &long)) && !is_architecture(&long));
        assert!(!is_dist("a/b") && !is_dist("..") && !is_dist("") && is_dist("bookworm-security"));
    }

    #[test]
    fn names_that_apt_takes() {
        assert!(is_package("g++-12") && is_package("Teams_x.1"));
        assert!(!is_package("") && !is_package("-a") && !is_package("a/b") && !is_package("é"));
        assert!(is_architecture("kfreebsd-amd64") && is_architecture("all"));
        assert!(!is_architecture("../x") && !is_architecture(""));
    }
}
