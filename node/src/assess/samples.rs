//! Small files in the feeds' formats, for tests.

use std::io::Write;

pub(crate) const KEV: &str = r#"{
  "title": "Known Exploited Vulnerabilities",
  "catalogVersion": "2024.03.05",
  "dateReleased": "2024-03-05T15:00:00.0000Z",
  "count": 2,
  "vulnerabilities": [
    {
      "cveID": "CVE-2024-21338",
      "vendorProject": "Example",
      "product": "Kernel",
      "dateAdded": "2024-03-04",
      "requiredAction": "Apply mitigations.",
      "dueDate": "2024-03-25",
      "knownRansomwareCampaignUse": "Known",
      "notes": "",
      "cwes": ["CWE-822"]
    },
    {
      "cveID": "CVE-2023-0001",
      "dateAdded": "2023-01-10",
      "knownRansomwareCampaignUse": "Unknown"
    }
  ]
}
"#;

pub(crate) const EPSS: &str = "#model_version:v2023.03.01,score_date:2024-04-01T00:00:00+0000
cve,epss,percentile
CVE-2023-0001,0.00043,0.07812
CVE-2024-21338,0.94321,0.99887
CVE-2024-5535,0.01000,0.50000
";

pub(crate) const OSV: &str = r#"{
  "schema_version": "1.7.0",
  "id": "DSA-5678-1",
  "modified": "2024-06-01T12:00:00Z",
  "upstream": ["CVE-2024-4741", "CVE-2024-5535"],
  "affected": [
    {
      "package": {"ecosystem": "Debian:12", "name": "openssl", "purl": "pkg:deb/debian/openssl?arch=source"},
      "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.15-1~deb12u1"}]}]
    },
    {
      "package": {"ecosystem": "Debian:11", "name": "openssl"},
      "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1.1w-0+deb11u2"}]}]
    },
    {
      "package": {"ecosystem": "npm", "name": "left-pad"},
      "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.0.0"}]}]
    }
  ]
}
"#;

pub(crate) const CSAF: &str = r#"{
  "document": {
    "category": "csaf_security_advisory",
    "csaf_version": "2.0",
    "title": "Example",
    "publisher": {"category": "vendor", "name": "Example", "namespace": "https://example.com"},
    "tracking": {
      "id": "EX-2024-001",
      "current_release_date": "2024-02-13T08:00:00.000Z",
      "status": "final",
      "version": "1"
    }
  },
  "product_tree": {
    "branches": [
      {
        "category": "vendor",
        "name": "Example",
        "branches": [
          {
            "category": "product_version",
            "name": "3.0.15",
            "product": {
              "name": "openssl 3.0.15",
              "product_id": "P1",
              "product_identification_helper": {
                "purl": "pkg:deb/debian/openssl@3.0.15-1~deb12u1?arch=source&distro=bookworm"
              }
            }
          }
        ]
      }
    ],
    "full_product_names": [{"name": "Windows", "product_id": "W1"}],
    "relationships": [
      {
        "category": "default_component_of",
        "product_reference": "P1",
        "relates_to_product_reference": "W1",
        "full_product_name": {"name": "openssl of Windows", "product_id": "R1"}
      }
    ]
  },
  "vulnerabilities": [
    {
      "cve": "CVE-2024-21338",
      "scores": [
        {
          "cvss_v3": {
            "version": "3.1",
            "baseScore": 7.8,
            "vectorString": "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"
          },
          "products": ["W1"]
        }
      ],
      "threats": [{"category": "impact", "details": "Important"}],
      "product_status": {"fixed": ["W1"]},
      "remediations": [
        {"category": "vendor_fix", "details": "10.0.1", "url": "https://example.com/?q=KB5034763"}
      ]
    },
    {"cve": "CVE-2024-5535", "product_status": {"fixed": ["R1"]}},
    {"ids": [{"system_name": "x", "text": "no CVE"}]}
  ]
}
"#;

/// Packs with gzip.
pub(crate) fn packed(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}
