use super::*;
use patchmesh_topology::link::rate::Rate;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn flags(&self) -> Flags {
        Flags { data: Some(self.0.path().to_owned()), ..Flags::default() }
    }
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn problem(flags: &Flags, pairs: &[(&str, &str)]) -> String {
    load(flags, environment(pairs)).expect_err("refused").to_string()
}

#[test]
fn an_empty_folder_has_the_defaults() {
    let folder = Folder::new();
    let settings = load(&folder.flags(), []).expect("settings");
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(settings.http_listen, None);
    assert_eq!(settings.certificate_lifetime, Duration::from_secs(90 * 86_400));
    assert_eq!(settings.content_fetches, 4);
    let limits = [settings.limit_down, settings.limit_up, settings.limit_machines];
    assert!(limits.into_iter().all(Rate::is_unlimited));
    assert_eq!(settings.data, folder.0.path());
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let folder = Folder::new();
    folder.write(
        "patchmesh.toml",
        "listen = '127.0.0.1:1'\npoll_interval = '1m'\ncontent_fetches = 2\nlimit_up = '10Mbit/s'\n",
    );
    folder.write("patchmesh.d/10-a.toml", "listen = '127.0.0.1:2'\noffline_grace = '2d'\n");
    folder.write("patchmesh.d/20-b.toml", "listen = '127.0.0.1:3'\n");
    folder.write("patchmesh.d/README", "not read");
    let mut flags = folder.flags();
    let listen = |flags: &Flags, pairs: &[(&str, &str)]| {
        load(flags, environment(pairs)).expect("settings").listen.port()
    };
    assert_eq!(listen(&flags, &[]), 3);
    assert_eq!(listen(&flags, &[("PATCHMESH_LISTEN", "127.0.0.1:4")]), 4);
    flags.values.push(("listen", "127.0.0.1:5".to_owned()));
    assert_eq!(listen(&flags, &[("PATCHMESH_LISTEN", "127.0.0.1:4")]), 5);

    let settings = load(&flags, []).expect("settings");
    assert_eq!(settings.poll_interval, Duration::from_secs(60));
    assert_eq!(settings.offline_grace, Duration::from_secs(2 * 86_400));
    assert_eq!(settings.content_fetches, 2);
    assert_eq!(settings.limit_up.bits(), Some(10_000_000));
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let folder = Folder::new();
    folder.write("patchmesh.d/10-typo.toml", "lissten = '127.0.0.1:2'\n");
    let text = problem(&folder.flags(), &[]);
    assert!(text.contains("lissten") && text.contains("10-typo.toml"), "{text}");

    let folder = Folder::new();
    let text = problem(&folder.flags(), &[("PATCHMESH_LISSTEN", "x")]);
    assert!(text.contains("PATCHMESH_LISSTEN"), "{text}");
    // Variables of the command line are no keys.
    assert!(load(&folder.flags(), environment(&[("PATCHMESH_NODE", "hq")])).is_ok());
}

#[test]
fn a_bad_value_is_named_with_its_place_and_a_way_out() {
    let folder = Folder::new();
    folder.write("patchmesh.toml", "poll_interval = '30'\n");
    let text = problem(&folder.flags(), &[]);
    for part in ["poll_interval", "patchmesh.toml", "15m"] {
        assert!(text.contains(part), "{text}");
    }
    let folder = Folder::new();
    for (name, text) in [
        ("PATCHMESH_LISTEN", "8443"),
        ("PATCHMESH_CONTENT_FETCHES", "0"),
        ("PATCHMESH_OFFLINE_GRACE", "3000d"),
        ("PATCHMESH_LOG_FORMAT", "xml"),
    ] {
        let message = problem(&folder.flags(), &[(name, text)]);
        assert!(message.contains(name) && message.contains(text), "{message}");
    }
}

#[test]
fn text_that_is_not_toml_names_the_file() {
    let folder = Folder::new();
    folder.write("patchmesh.toml", "listen = \n");
    let error = load(&folder.flags(), []).expect_err("refused");
    assert!(
        matches!(&error, Error::Form { origin, .. } if origin.ends_with("patchmesh.toml")),
        "{error}"
    );
}

#[test]
fn only_a_named_file_moves_the_data_folder() {
    let folder = Folder::new();
    folder.write("patchmesh.toml", "data = '/elsewhere'\n");
    assert!(problem(&folder.flags(), &[]).contains("--config"));

    let other = Folder::new();
    let file = other.write("node.toml", "data = '/elsewhere'\n");
    let flags = Flags { config: Some(file.clone()), ..Flags::default() };
    assert_eq!(load(&flags, []).expect("settings").data, Path::new("/elsewhere"));
    let flags = Flags { data: Some("/here".into()), ..flags };
    assert_eq!(load(&flags, []).expect("settings").data, Path::new("/here"));

    let absent = Flags { config: Some(other.0.path().join("absent.toml")), ..Flags::default() };
    assert!(problem(&absent, &[]).contains("absent.toml"));
}

#[test]
fn every_key_is_shown_with_its_origin() {
    let folder = Folder::new();
    folder.write("patchmesh.toml", "listen = '127.0.0.1:1'\n");
    let shown =
        show(&folder.flags(), environment(&[("PATCHMESH_POLL_INTERVAL", "5m")])).expect("shown");
    let of = |name: &str| shown.iter().find(|row| row.key == name).expect("a key");
    assert_eq!(shown.len(), KEYS.len());
    assert!(of("listen").from.ends_with("patchmesh.toml"));
    assert_eq!(of("poll_interval").from, "PATCHMESH_POLL_INTERVAL");
    assert_eq!(of("log_format").from, "default");
    assert_eq!(of("data").from, "the command line");
    assert_eq!(of("http_listen").value, None);
}

#[test]
fn the_first_file_is_read_again_and_never_overwritten() {
    let folder = Folder::new();
    let port = |number: u16| SocketAddr::from(([127, 0, 0, 1], number));
    super::super::write_first(folder.0.path(), port(7)).expect("written");
    super::super::write_first(folder.0.path(), port(8)).expect("left");
    assert_eq!(load(&folder.flags(), []).expect("settings").listen, port(7));
}
