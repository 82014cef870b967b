//! The layers of the configuration, and the one place where they become
//! [`Settings`].

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use jiff::SignedDuration;
use patchmesh_topology::link::rate::{self, Rate};
use patchmesh_topology::planned::Retries;

use super::{DEFAULT_DATA, ENVIRONMENT_PREFIX, Error, KEYS, Key, Settings, key};
use crate::duration;
use crate::log;

/// Variables that the command line reads itself, in lower case without the
/// prefix: they are no keys.
const COMMAND_LINE_VARIABLES: [&str; 6] =
    ["data", "config", "node", "output", "remotes", "credentials"];

/// Bounds of `certificate_lifetime`: renewal has to have time to happen, and
/// ten years is as good as never.
const CERTIFICATE_LIFETIME: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(3_650 * 86_400));
/// Bounds of `offline_grace`: a year without headquarters is too long.
const OFFLINE_GRACE: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(365 * 86_400));
/// Bounds of `poll_interval`: faster is what the watch stream is for.
const POLL_INTERVAL: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
/// Bounds of `retry_interval`: sooner is an attack on the vendor, later no retry.
const RETRY_INTERVAL: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
/// Bounds of `retry_times`: who wants more wants no alert.
const RETRY_TIMES: (u64, u64) = (0, 100);
/// Bounds of `content_fetches`: beyond, only memory is spent.
const CONTENT_FETCHES: (u64, u64) = (1, 64);

/// Bounds of `scrub_period`: what is read once in ten years is not looked after.
const SCRUB_PERIOD: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(3_650 * 86_400));

/// What the command line says, which wins over everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--data` or `PATCHMESH_DATA`.
    pub data: Option<PathBuf>,
    /// `--config` or `PATCHMESH_CONFIG`: the file, instead of the one in the
    /// data folder.
    pub config: Option<PathBuf>,
    /// Keys with their values, as text.
    pub values: Vec<(&'static str, String)>,
}

/// One key as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// The key.
    pub key: &'static str,
    /// Its value; `None` where it is off.
    pub value: Option<String>,
    /// The file, variable or flag that it comes from.
    pub from: String,
    /// What it does.
    pub meaning: &'static str,
}

/// The file that a data folder's configuration stands in.
#[must_use]
pub fn file_for(data: &Path) -> PathBuf {
    data.join("patchmesh.toml")
}

/// Reads and checks everything. `environment` is [`std::env::vars`], or what a
/// test has instead.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Error> {
    Layers::gather(flags, environment)?.settings()
}

/// What every key is and where it comes from; the values are checked too.
pub fn show(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Shown>, Error> {
    let layers = Layers::gather(flags, environment)?;
    let settings = layers.settings()?;
    KEYS.iter()
        .map(|key| {
            let value = match key.name {
                "data" => return Ok(data(&settings, &layers, flags, key)),
                name => layers.text(name)?,
            };
            Ok(Shown { key: key.name, value, from: layers.origin(key.name), meaning: key.meaning })
        })
        .collect()
}

/// The data folder, which the command line names before any file is read.
fn data(settings: &Settings, layers: &Layers, flags: &Flags, key: &Key) -> Shown {
    Shown {
        key: key.name,
        value: Some(settings.data.display().to_string()),
        from: if flags.data.is_some() { COMMAND_LINE.to_owned() } else { layers.origin(key.name) },
        meaning: key.meaning,
    }
}

/// A layer that is no file: a name for messages and its values.
struct Given {
    name: &'static str,
    values: Dict,
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

struct Layers {
    merged: Figment,
    data: PathBuf,
}

impl Layers {
    fn gather(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut merged = Figment::from(defaults());
        let named = flags.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        let file = match &flags.config {
            Some(file) if !file.is_file() => return Err(Error::Absent(file.clone())),
            Some(file) => file.clone(),
            None => file_for(&named),
        };
        for path in with_drop_ins(&file)? {
            let layer = Toml::file_exact(&path);
            let origin = path.display().to_string();
            check_keys(&layer, &origin)?;
            merged = merged.merge(layer);
        }
        merged = merged.merge(from_environment(environment)?);
        merged = merged.merge(Given {
            name: COMMAND_LINE,
            values: flags
                .values
                .iter()
                .map(|(key, text)| ((*key).to_owned(), value(text)))
                .collect(),
        });

        let mut layers = Self { merged, data: named };
        match (layers.text("data")?, &flags.data, &flags.config) {
            (None, ..) => {}
            (Some(_), _, None) => {
                return Err(layers.fault(
                    "data",
                    "a file inside the data folder cannot move it; remove the key, or name the file with --config",
                ));
            }
            (Some(_), Some(_), Some(_)) => {}
            (Some(text), None, Some(_)) => layers.data = PathBuf::from(text),
        }
        Ok(layers)
    }

    fn settings(&self) -> Result<Settings, Error> {
        Ok(Settings {
            data: self.data.clone(),
            listen: self.required("listen", address)?,
            http_listen: self.optional("http_listen", address)?,
            log_format: self.required("log_format", |text| text.parse().map_err(explained))?,
            log_filter: self.required("log_filter", |text| text.parse().map_err(explained))?,
            certificate_lifetime: self
                .required("certificate_lifetime", within(CERTIFICATE_LIFETIME))?,
            offline_grace: self.required("offline_grace", within(OFFLINE_GRACE))?,
            poll_interval: self.required("poll_interval", within(POLL_INTERVAL))?,
            retries: self.retries()?,
            content_fetches: self.required("content_fetches", count(CONTENT_FETCHES))?,
            scrub_rate: self.required("scrub_rate", rate)?,
            scrub_period: self.required("scrub_period", within(SCRUB_PERIOD))?,
            limit_down: self.required("limit_down", rate)?,
            limit_up: self.required("limit_up", rate)?,
            limit_machines: self.required("limit_machines", rate)?,
        })
    }

    fn retries(&self) -> Result<Retries, Error> {
        let times: usize = self.required("retry_times", count(RETRY_TIMES))?;
        let interval = self.required("retry_interval", within(RETRY_INTERVAL))?;
        Ok(Retries {
            times: u32::try_from(times).unwrap_or(u32::MAX),
            interval: SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX),
        })
    }

    /// The value of a key as text, whatever layer it comes from.
    fn text(&self, key: &'static str) -> Result<Option<String>, Error> {
        match self.merged.find_value(key) {
            Err(_) => Ok(None),
            Ok(Value::String(_, text)) => Ok(Some(text)),
            Ok(Value::Num(_, number)) => {
                let whole = number.to_u128().map(|number| number.to_string());
                let whole = whole.or_else(|| number.to_i128().map(|number| number.to_string()));
                whole.map(Some).ok_or_else(|| self.fault(key, "write a whole number"))
            }
            Ok(_) => Err(self.fault(key, "write a text in quotes or a whole number")),
        }
    }

    fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => read(&text).map(Some).map_err(|why| self.fault(key, &why)),
        }
    }

    fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        self.optional(key, read)?.ok_or_else(|| self.fault(key, "no value is set"))
    }

    fn fault(&self, key: &'static str, why: &str) -> Error {
        Error::Value { key, origin: self.origin(key), why: why.to_owned() }
    }

    fn origin(&self, key: &str) -> String {
        match self.merged.find_metadata(key) {
            None => "default".to_owned(),
            Some(metadata) => match &metadata.source {
                Some(Source::File(path)) => path.display().to_string(),
                _ if metadata.name == ENVIRONMENT => variable(key),
                _ => metadata.name.to_string(),
            },
        }
    }
}

const COMMAND_LINE: &str = "the command line";
const ENVIRONMENT: &str = "the environment";

fn variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase())
}

fn defaults() -> Given {
    let values = KEYS
        .iter()
        .filter_map(|key| key.default.map(|text| (key.name.to_owned(), value(text))))
        .collect();
    Given { name: "default", values }
}

fn value(text: &str) -> Value {
    Value::from(text)
}

/// The file itself, if it is there, and its drop-ins by name.
fn with_drop_ins(file: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    if file.is_file() {
        paths.push(file.to_owned());
    }
    let folder = file.with_extension("d");
    let listing = match std::fs::read_dir(&folder) {
        Ok(listing) => listing,
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(paths),
        Err(source) => return Err(Error::Io { action: "list", path: folder, source }),
    };
    let mut drop_ins = Vec::new();
    for entry in listing {
        let path = entry
            .map_err(|source| Error::Io { action: "list", path: folder.clone(), source })?
            .path();
        if path.extension() == Some(OsStr::new("toml")) {
            drop_ins.push(path);
        }
    }
    drop_ins.sort();
    paths.append(&mut drop_ins);
    Ok(paths)
}

fn check_keys(layer: &dyn Provider, origin: &str) -> Result<(), Error> {
    let form = |source| Error::Form { origin: origin.to_owned(), source: Box::new(source) };
    for dict in layer.data().map_err(form)?.values() {
        if let Some(unknown) = dict.keys().find(|name| !key::is_known(name)) {
            return Err(Error::UnknownKey { key: unknown.clone(), origin: origin.to_owned() });
        }
    }
    Ok(())
}

fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Result<Given, Error> {
    let mut values = Dict::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let key = rest.to_lowercase();
        if COMMAND_LINE_VARIABLES.contains(&key.as_str()) {
            continue;
        }
        if !key::is_known(&key) {
            return Err(Error::UnknownKey { key, origin: format!("{ENVIRONMENT} ({name})") });
        }
        values.insert(key, value(&text));
    }
    Ok(Given { name: ENVIRONMENT, values })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not an address with a port; write one such as 0.0.0.0:8443 or [::]:8443"
        )
    })
}

fn within((least, most): (Duration, Duration)) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let length = duration::parse(text).map_err(|error| error.to_string())?;
        if (least..=most).contains(&length) {
            return Ok(length);
        }
        Err(format!(
            "{text} is out of bounds; write something from {} to {}",
            duration::format(least),
            duration::format(most)
        ))
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|error: rate::Error| error.to_string())
}

fn count((least, most): (u64, u64)) -> impl Fn(&str) -> Result<usize, String> {
    move |text| match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => {
            usize::try_from(number).map_err(|error| error.to_string())
        }
        _ => Err(format!("{text:?} is not a whole number from {least} to {most}")),
    }
}

/// For a message that cannot keep the causes.
fn explained(error: log::Error) -> String {
    log::in_one_line(&error)
}

#[cfg(test)]
mod tests;
