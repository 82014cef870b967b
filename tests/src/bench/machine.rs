//! What the measurements were made on, without its name or anybody's folders.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::run::run;

/// Facts that make numbers comparable.
#[derive(Debug, Clone)]
pub struct Machine {
    /// UTC, to the minute.
    pub date: String,
    /// The processor's model.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that data folders lie on.
    pub file_system: String,
    /// The version of Patchmesh and its build profile.
    pub software: String,
}

impl Machine {
    /// Looks around.
    ///
    /// # Errors
    /// When there is no /proc.
    pub async fn this() -> Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let memory = fs::read_to_string("/proc/meminfo")?;
        let kibibytes: u64 = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
            .unwrap_or(0);
        Ok(Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            processor: processor.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kibibytes + (1 << 19)) >> 20,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(&std::env::temp_dir()).await,
            software: software().await,
        })
    }
}

async fn file_system(folder: &Path) -> String {
    let outcome =
        run(Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder)).await;
    match outcome {
        Ok(outcome) if outcome.code == 0 => outcome.stdout.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

async fn software() -> String {
    let Ok(binary) = crate::binaries::patchmesh() else { return "unknown".to_owned() };
    match run(Command::new(binary).arg("--version")).await {
        Ok(outcome) => format!("{}, the profile that tests and demo share", outcome.stdout.trim()),
        Err(_) => "unknown".to_owned(),
    }
}
