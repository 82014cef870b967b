//! The mesh's CA as it certifies machines, for certificates that no join made:
//! of another time, or for thousands of machines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::civil::Date;
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyPair, SanType, date_time_ymd};

use crate::cluster::Cluster;

/// The CA's key and the mesh that it is of.
pub struct Authority {
    mesh: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The one whose key lies with the cluster's primary, for the mesh of this id.
    ///
    /// # Errors
    /// When its files are not as they should be.
    pub fn of(cluster: &Cluster, mesh: &str) -> Result<Self> {
        let folder = cluster.primary()?.data.join("identity");
        let certificate = fs::read_to_string(folder.join("ca.pem"))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key(&folder.join("ca-key.pem"))?)?;
        Ok(Self { mesh: mesh.to_owned(), issuer })
    }

    /// A machine's certificate for its key, in DER, valid from day to day.
    ///
    /// # Errors
    /// When the dates are none that a certificate can have.
    pub fn certify(
        &self,
        machine: &str,
        group: &str,
        key: &KeyPair,
        (begin, end): (Date, Date),
    ) -> Result<Vec<u8>> {
        let uri = format!("patchmesh://{}/machine/{group}/{machine}", self.mesh);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        let moment = |date: Date| {
            Ok::<_, anyhow::Error>(date_time_ymd(
                date.year().into(),
                date.month().try_into()?,
                date.day().try_into()?,
            ))
        };
        (params.not_before, params.not_after) = (moment(begin)?, moment(end)?);
        Ok(params.signed_by(key, &self.issuer)?.der().to_vec())
    }
}

/// A key from its file.
///
/// # Errors
/// When there is none.
pub fn key(path: &Path) -> Result<KeyPair> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(KeyPair::from_pem(&text)?)
}
