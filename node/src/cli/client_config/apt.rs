//! The settings of apt, as files and as lines to paste.

use std::path::{Path, PathBuf};

use patchmesh_proto::admin;
use serde::Serialize;
use url::Url;

use crate::cli::output::Answer;

/// Ends each text among the lines to paste.
const END: &str = "PATCHMESH";

/// Where the files lie on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Places {
    ca: PathBuf,
    keyring: PathBuf,
    sources: PathBuf,
    settings: PathBuf,
    /// Whether the files were written, rather than shown to be pasted.
    #[serde(skip)]
    written: bool,
}

impl Places {
    /// Where Debian's own tools look for them.
    pub(super) fn on_the_machine() -> Self {
        Self {
            ca: "/etc/patchmesh/ca.pem".into(),
            keyring: "/etc/apt/keyrings/patchmesh.asc".into(),
            sources: "/etc/apt/sources.list.d/patchmesh.list".into(),
            settings: "/etc/apt/apt.conf.d/60patchmesh".into(),
            written: false,
        }
    }

    /// All in one folder.
    pub(super) fn within(folder: &Path) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            keyring: folder.join("patchmesh.asc"),
            sources: folder.join("patchmesh.list"),
            settings: folder.join("apt.conf"),
            written: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Apt {
    url: String,
    stage: &'static str,
    group: String,
    suites: Vec<String>,
    components: Vec<String>,
    architectures: Vec<String>,
    ca_certificate: String,
    repository_key: String,
    sources: String,
    settings: String,
    files: Places,
}

impl Apt {
    /// Refuses what would not be safe to paste into a shell as root.
    pub(super) fn new(
        response: admin::GetClientConfigResponse,
        files: Places,
    ) -> Result<Self, String> {
        let host = host(&response.url)?;
        check(&response)?;
        let stage = super::stage_of(&response);
        let url = format!("{}/apt/{stage}/{}", response.url.trim_end_matches('/'), response.group);
        let settings = format!("Acquire::https::{host}::CaInfo \"{}\";\n", files.ca.display());
        // No `arch=`: what the view has today is not all that it may have later.
        let options = format!("[signed-by={}]", files.keyring.display());
        let lines = response.suites.iter().map(|suite| {
            let components = response.components.join(" ");
            format!("deb {options} {url} {suite} {components}\n")
        });
        Ok(Self {
            sources: lines.collect(),
            settings,
            url,
            stage,
            group: response.group,
            suites: response.suites,
            components: response.components,
            architectures: response.architectures,
            ca_certificate: with_newline(response.ca_certificate),
            repository_key: with_newline(response.repository_key),
            files,
        })
    }

    /// Every file with its text.
    pub(super) fn files(&self) -> [(&Path, &str); 4] {
        [
            (&self.files.ca, &self.ca_certificate),
            (&self.files.keyring, &self.repository_key),
            (&self.files.sources, &self.sources),
            (&self.files.settings, &self.settings),
        ]
    }
}

/// The host of a node's URL, which has nothing that a shell would act on.
fn host(url: &str) -> Result<String, String> {
    let wrong = || format!("{url:?} is no address of a node");
    let parsed = Url::parse(url).map_err(|_| wrong())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
    if parsed.scheme() != "https" || !url.chars().all(plain) {
        return Err(wrong());
    }
    parsed.host_str().map(str::to_owned).ok_or_else(wrong)
}

/// Whether everything may stand where it will stand.
fn check(response: &admin::GetClientConfigResponse) -> Result<(), String> {
    let lists = [&response.suites, &response.components, &response.architectures];
    let mut words = lists.into_iter().flatten().chain([&response.group]);
    if let Some(word) = words.find(|word| !is_plain(word)) {
        return Err(format!("{word:?} cannot stand in apt's sources"));
    }
    let texts = [&response.ca_certificate, &response.repository_key];
    if texts.into_iter().any(|text| text.lines().any(|line| line == END)) {
        return Err("the CA's certificate or the repository key is none".to_owned());
    }
    Ok(())
}

/// Suites, components and architectures are words of letters, digits and
/// marks that mean nothing to a shell or to apt's option lists.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+' | '~'))
}

fn with_newline(text: String) -> String {
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

impl Answer for Apt {
    fn text(&self) -> String {
        if self.files.written {
            let paths = self.files().map(|(path, _)| format!("{}\n", path.display()));
            return paths.concat();
        }
        let mut text = format!(
            "# Updates of group {} ({}) from {}. Run as root on the machine.\n\
             mkdir -p /etc/patchmesh /etc/apt/keyrings\n",
            self.group, self.stage, self.url
        );
        for (path, content) in self.files() {
            text.push_str(&format!("cat > {} <<'{END}'\n{content}{END}\n", path.display()));
        }
        text.push_str("apt-get update\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_proto::wire;

    use super::*;

    fn response() -> admin::GetClientConfigResponse {
        admin::GetClientConfigResponse {
            url: "https://lyon.example:8443".into(),
            stage: wire::Stage::Production.into(),
            group: "workstations".into(),
            suites: vec!["stable".into(), "bookworm-security".into()],
            components: vec!["settled".into(), "opening".into()],
            architectures: vec!["amd64".into()],
            ca_certificate: "-----BEGIN CERTIFICATE-----\n".into(),
            repository_key: "-----BEGIN PGP PUBLIC KEY BLOCK-----".into(),
        }
    }

    #[test]
    fn the_lines_can_be_pasted() {
        let apt = Apt::new(response(), Places::on_the_machine()).expect("settings");
        let text = apt.text();
        for line in [
            "deb [signed-by=/etc/apt/keyrings/patchmesh.asc] https://lyon.example:8443/apt/production/workstations stable settled opening\n",
            "Acquire::https::lyon.example::CaInfo \"/etc/patchmesh/ca.pem\";\n",
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\nPATCHMESH\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let json = serde_json::to_value(&apt).expect("JSON");
        assert_eq!(json["url"], "https://lyon.example:8443/apt/production/workstations");
        assert_eq!(json["files"]["ca"], "/etc/patchmesh/ca.pem");
    }

    #[test]
    fn written_files_point_at_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let apt = Apt::new(response(), Places::within(folder.path())).expect("settings");
        super::super::write_files(folder.path(), &apt).expect("written");
        let list = std::fs::read_to_string(folder.path().join("patchmesh.list")).expect("a file");
        let keyring = folder.path().join("patchmesh.asc");
        assert!(list.contains(&format!("signed-by={}", keyring.display())), "{list}");
        assert!(keyring.is_file());
        assert_eq!(apt.text().lines().count(), 4);
    }

    #[test]
    fn nothing_dangerous_is_printed() {
        for url in ["http://x/apt", "https://x/$(id)", "https://x/a b", "x"] {
            let answer = admin::GetClientConfigResponse { url: url.into(), ..response() };
            assert!(Apt::new(answer, Places::on_the_machine()).is_err(), "{url:?}");
        }
        for suite in ["", "stable; rm -rf /", "a\nb", "$(x)"] {
            let answer =
                admin::GetClientConfigResponse { suites: vec![suite.into()], ..response() };
            assert!(Apt::new(answer, Places::on_the_machine()).is_err(), "{suite:?}");
        }
    }
}
