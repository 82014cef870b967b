//! The keys of the configuration: one table that the reader, `config show`,
//! the help and the manual share.

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As it stands in a file; in capitals after `PATCHMESH_` in the
    /// environment, with `-` for `_` as a flag of `serve`.
    pub name: &'static str,
    /// As it would stand in a file; `None` where absence means "off" or is
    /// decided elsewhere.
    pub default: Option<&'static str>,
    /// What it does.
    pub meaning: &'static str,
}

/// Every key, in the order in which they are shown.
pub const KEYS: [Key; 16] = [
    Key {
        name: "data",
        default: None,
        meaning: "The node's data folder; only in a file named with --config",
    },
    Key {
        name: "listen",
        default: Some("0.0.0.0:8443"),
        meaning: "Address and port for gRPC and HTTPS",
    },
    Key {
        name: "http_listen",
        default: None,
        meaning: "Address and port for plain HTTP: views, content, TUF metadata and status of old clients only; off unless set",
    },
    Key { name: "log_format", default: Some("text"), meaning: "text or json" },
    Key {
        name: "log_filter",
        default: Some("info"),
        meaning: "What is logged: LEVEL or MODULE=LEVEL, separated by commas",
    },
    Key {
        name: "certificate_lifetime",
        default: Some("90d"),
        meaning: "On a primary: life of the certificates it issues; nodes renew after two thirds of it",
    },
    Key {
        name: "offline_grace",
        default: Some("30d"),
        meaning: "How long the node goes on with verified documents while it is cut off",
    },
    Key {
        name: "poll_interval",
        default: Some("15m"),
        meaning: "How often the node asks its parent even when nothing was announced",
    },
    Key {
        name: "retry_times",
        default: Some("3"),
        meaning: "How often a planned synchronisation that failed runs again before it is an alert, 0 to 100",
    },
    Key {
        name: "retry_interval",
        default: Some("30m"),
        meaning: "How long after a failure it runs again",
    },
    Key {
        name: "content_fetches",
        default: Some("4"),
        meaning: "How many payloads are fetched at the same time, 1 to 64",
    },
    Key {
        name: "scrub_rate",
        default: Some("8MB/s"),
        meaning: "How fast stored content is read again to find what the disk has spoilt; an eighth of it while payloads come or go",
    },
    Key {
        name: "scrub_period",
        default: Some("30d"),
        meaning: "How often all stored content is read again",
    },
    Key {
        name: "limit_down",
        default: Some("unlimited"),
        meaning: "The most that comes from nodes of other sites, all together: a rate such as 10Mbit/s or 1.5MB/s",
    },
    Key {
        name: "limit_up",
        default: Some("unlimited"),
        meaning: "The most that goes to nodes of other sites, all together",
    },
    Key {
        name: "limit_machines",
        default: Some("unlimited"),
        meaning: "The most that machines fetch of this node, all together",
    },
];

/// The names, for an error.
pub(super) fn names() -> String {
    KEYS.map(|key| key.name).join(", ")
}

/// Whether anything reads the key.
pub(super) fn is_known(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}
