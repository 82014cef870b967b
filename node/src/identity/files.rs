//! Identities on disk: a folder with `key.pem`, `cert.pem` and `ca.pem`, on a
//! primary also `ca-key.pem`.
//!
//! Files are replaced whole ([`durable`]), so a crash leaves the old or the new
//! one, and what was saved outlives a loss of power. Keys have mode 0600, and a key that others may read is refused.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use super::ca::{self, Ca};
use super::certificate::{self, Certificate};
use super::key::{self, Key};
use super::tls;
use crate::durable;

/// The private key.
pub const KEY_FILE: &str = "key.pem";
/// The certificate.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The mesh's CA.
pub const CA_FILE: &str = "ca.pem";
/// The CA's key, on the primary alone.
pub const CA_KEY_FILE: &str = "ca-key.pem";

/// The largest file that is read here; ours have a few hundred bytes.
const MAX_FILE: u64 = 64 << 10;

/// What to do about a damaged file.
const REMEDY: &str = "restore it from a backup, or, where this is not the primary, remove it and join again with a new token";

/// Why an identity cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there.
    #[error(
        "{} is missing: this folder holds no identity yet; make one with `patchmesh init` or `patchmesh join`",
        .0.display()
    )]
    Missing(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is far too large to be what it should.
    #[error("{} is damaged: it has {size} bytes, which no key or certificate has; {REMEDY}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes.
        size: u64,
    },
    /// A file with bytes that are no text.
    #[error("{} is damaged: it is no text; {REMEDY}", .0.display())]
    Binary(PathBuf),
    /// A secret that others may read.
    #[error("{} can be read by others (mode {mode:03o}); run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There was no key to be had for a new key file.
    #[error("cannot make the private key {}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: key::Error,
    },
    /// A key file without a key.
    #[error("{} is damaged: it holds no private key; {REMEDY}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: key::Error,
    },
    /// A certificate file without PEM.
    #[error("{} is damaged: it holds no certificate in PEM; {REMEDY}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A certificate that names nobody of a mesh.
    #[error("{} is damaged: it holds no certificate of a mesh; {REMEDY}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: certificate::Error,
    },
    /// The files of a folder do not belong together.
    #[error(
        "the files in {} are damaged: they do not belong together; restore them from a backup, or, where this is not the primary, remove them and join again with a new token",
        folder.display()
    )]
    Apart {
        /// The folder.
        folder: PathBuf,
        /// Which of them, and why.
        source: Box<Error>,
    },
    /// Key and certificate do not belong together.
    #[error("the certificate of {0} is for another key than the one beside it")]
    Mismatch(certificate::Subject),
    /// The CA beside the certificate did not issue it.
    #[error("the certificate of {subject} was not issued by the CA beside it")]
    Issuer {
        /// Whose certificate.
        subject: certificate::Subject,
        /// Why.
        source: Box<tls::Error>,
    },
    /// The CA cannot be used.
    #[error(
        "the CA in {} is damaged: {CA_FILE} and {CA_KEY_FILE} make none; restore both from a backup",
        folder.display()
    )]
    Ca {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: Box<ca::Error>,
    },
}

impl Error {
    /// Whether what lies in a file is not what was written there.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Size { .. }
                | Self::Binary(_)
                | Self::Key { .. }
                | Self::Pem { .. }
                | Self::Certificate { .. }
                | Self::Apart { .. }
                | Self::Ca { .. }
        )
    }
}

/// A key, its certificate and the CA that issued it; they always belong
/// together.
#[derive(Debug)]
pub struct Identity {
    key: Key,
    certificate: Certificate,
    ca: CertificateDer<'static>,
}

impl Identity {
    /// Puts an identity together.
    ///
    /// # Errors
    /// Where the certificate is for another key or of another CA.
    pub fn new(
        key: Key,
        certificate: Certificate,
        ca: CertificateDer<'static>,
    ) -> Result<Self, Error> {
        if certificate.spki_sha256 != key.spki_sha256() {
            return Err(Error::Mismatch(certificate.subject));
        }
        if let Err(source) = tls::check_issuer(&certificate, &ca) {
            return Err(Error::Issuer { subject: certificate.subject, source: Box::new(source) });
        }
        Ok(Self { key, certificate, ca })
    }

    /// Loads an identity from its folder.
    ///
    /// # Errors
    /// Where a file is missing, unreadable, damaged or does not fit the others.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CERTIFICATE_FILE);
        let certificate = Certificate::parse(&read_certificate(&path)?)
            .map_err(|source| Error::Certificate { path, source })?;
        let ca = read_certificate(&folder.join(CA_FILE))?;
        Self::new(read_key(&folder.join(KEY_FILE))?, certificate, ca)
            .map_err(|why| Error::Apart { folder: folder.to_owned(), source: Box::new(why) })
    }

    /// Saves the identity into its folder, which is made where it is not
    /// there. The certificate comes last: with it the identity is complete.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        save_key(folder, &self.key)?;
        write_public(&folder.join(CA_FILE), &to_pem(&self.ca))?;
        self.save_certificate(folder)
    }

    /// Saves a new certificate for the key that is in the folder already.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_certificate(&self, folder: &Path) -> Result<(), Error> {
        write_public(&folder.join(CERTIFICATE_FILE), &to_pem(&self.certificate.der))
    }

    /// The same identity with a newer certificate.
    ///
    /// # Errors
    /// Where the certificate is for another key or of another CA.
    pub fn renewed(&self, certificate: Certificate) -> Result<Self, Error> {
        // A key is only ever copied as its own PEM.
        let key = Key::from_pem(&self.key.to_pem())
            .map_err(|source| Error::Make { path: KEY_FILE.into(), source })?;
        Self::new(key, certificate, self.ca.clone())
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The mesh's CA.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// The mesh's CA in PEM, for clients.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        to_pem(&self.ca)
    }
}

/// Whether the folder holds a complete identity.
#[must_use]
pub fn exists(folder: &Path) -> bool {
    folder.join(CERTIFICATE_FILE).exists()
}

/// The key of a folder, made and saved where there is none yet.
///
/// # Errors
/// Where the key cannot be read, made or saved.
pub fn load_or_make_key(folder: &Path) -> Result<Key, Error> {
    let path = folder.join(KEY_FILE);
    match read_key(&path) {
        Err(Error::Missing(_)) => {
            let key = Key::generate().map_err(|source| Error::Make { path, source })?;
            save_key(folder, &key)?;
            Ok(key)
        }
        found => found,
    }
}

/// Loads the CA from the folder of the primary's identity.
///
/// # Errors
/// Where a file is missing or unreadable, or the two do not belong together.
pub fn load_ca(folder: &Path, mesh_id: &str) -> Result<Ca, Error> {
    let certificate = read_certificate(&folder.join(CA_FILE))?;
    let key = read_secret(&folder.join(CA_KEY_FILE))?;
    Ca::assemble(mesh_id, certificate, key)
        .map_err(|source| Error::Ca { folder: folder.to_owned(), source: Box::new(source) })
}

/// Saves the CA with its key.
///
/// # Errors
/// Where a file cannot be written.
pub fn save_ca(folder: &Path, ca: &Ca) -> Result<(), Error> {
    make_folder(folder)?;
    replace(&folder.join(CA_KEY_FILE), ca.key_pem(), durable::SECRET)?;
    write_public(&folder.join(CA_FILE), &to_pem(ca.certificate()))
}

/// A certificate in PEM.
#[must_use]
pub fn to_pem(certificate: &CertificateDer<'_>) -> String {
    // RFC 7468: lines of 64 characters.
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn save_key(folder: &Path, key: &Key) -> Result<(), Error> {
    make_folder(folder)?;
    replace(&folder.join(KEY_FILE), &key.to_pem(), durable::SECRET)
}

fn write_public(path: &Path, text: &str) -> Result<(), Error> {
    replace(path, text, durable::PUBLIC)
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    durable::make_folder(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })
}

fn replace(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    durable::replace(path, text.as_bytes(), mode)
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<(String, fs::Metadata), Error> {
    let wrong = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        io::ErrorKind::InvalidData => Error::Binary(path.to_owned()),
        _ => Error::Read { path: path.to_owned(), source },
    };
    let metadata = fs::metadata(path).map_err(wrong)?;
    if metadata.len() > MAX_FILE {
        return Err(Error::Size { path: path.to_owned(), size: metadata.len() });
    }
    Ok((fs::read_to_string(path).map_err(wrong)?, metadata))
}

fn read_secret(path: &Path) -> Result<String, Error> {
    let (text, metadata) = read(path)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(text) } else { Err(Error::Exposed { path: path.to_owned(), mode }) }
}

fn read_key(path: &Path) -> Result<Key, Error> {
    Key::from_pem(&read_secret(path)?)
        .map_err(|source| Error::Key { path: path.to_owned(), source })
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, Error> {
    let (text, _) = read(path)?;
    CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|source| Error::Pem { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::TestMesh;

    #[test]
    fn an_identity_survives_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity");
        let identity = TestMesh::new().node("lyon");
        assert!(matches!(Identity::load(&path), Err(Error::Missing(_))));
        identity.save(&path).expect("saved");
        let back = Identity::load(&path).expect("loaded");
        assert_eq!(back.certificate(), identity.certificate());
        assert!(exists(&path));
    }

    #[test]
    fn a_key_that_others_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        TestMesh::new().node("lyon").save(folder.path()).expect("saved");
        let key = folder.path().join(KEY_FILE);
        let mode = fs::metadata(&key).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("opened up");
        assert!(matches!(Identity::load(folder.path()), Err(Error::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn parts_of_different_identities_do_not_mix() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (TestMesh::new(), TestMesh::new());
        ours.node("lyon").save(folder.path()).expect("saved");
        ours.node("paris").save_certificate(folder.path()).expect("saved");
        let refused = || Identity::load(folder.path()).expect_err("they do not fit");
        let is_apart = |is: fn(&Error) -> bool| match refused() {
            Error::Apart { source, .. } => is(&source),
            _ => false,
        };
        assert!(is_apart(|why| matches!(why, Error::Mismatch(_))), "{}", refused());
        ours.node("lyon").save(folder.path()).expect("saved");
        fs::write(folder.path().join(CA_FILE), to_pem(theirs.ca.certificate())).expect("written");
        assert!(is_apart(|why| matches!(why, Error::Issuer { .. })), "{}", refused());
        fs::write(folder.path().join(CERTIFICATE_FILE), "hello").expect("written");
        assert!(matches!(refused(), Error::Pem { .. }));
    }

    #[test]
    fn what_is_damaged_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in [KEY_FILE, CERTIFICATE_FILE, CA_FILE] {
            TestMesh::new().node("lyon").save(folder.path()).expect("saved");
            let path = folder.path().join(file);
            let whole = fs::read(&path).expect("the file");
            let half = &whole[..whole.len() / 2];
            for bytes in [b"".as_slice(), half, b"garbage", &[0xff; 200], &[b'x'; 70_000]] {
                fs::write(&path, bytes).expect("damaged");
                let error = Identity::load(folder.path()).expect_err("damaged");
                let told = error.to_string();
                assert!(error.is_damage(), "{told}");
                assert!(told.starts_with(&format!("{} is damaged", path.display())), "{told}");
                assert!(told.ends_with(REMEDY), "{told}");
            }
        }
    }

    #[test]
    fn a_ca_survives_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let mesh = TestMesh::new();
        save_ca(folder.path(), &mesh.ca).expect("saved");
        let back = load_ca(folder.path(), mesh.ca.mesh_id()).expect("loaded");
        assert_eq!(back.sha256(), mesh.ca.sha256());
        save_ca(folder.path(), &TestMesh::new().ca).expect("saved");
        fs::write(folder.path().join(CA_FILE), to_pem(mesh.ca.certificate())).expect("written");
        assert!(matches!(load_ca(folder.path(), "m"), Err(Error::Ca { .. })));
    }
}
