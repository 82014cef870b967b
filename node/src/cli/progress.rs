//! Progress on standard error: bars on a terminal, nothing anywhere else.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// All bars of one command. Clearing it leaves the terminal as it was.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bars: MultiProgress,
    quiet: bool,
}

impl Progress {
    /// Hidden when quiet, and by itself where standard error is no terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(10)
        };
        Self { bars: MultiProgress::with_draw_target(target), quiet }
    }

    /// A line that shows that something is being waited for.
    pub(crate) fn spinner(&self, text: impl Into<String>) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {msg}"));
        bar.set_message(text.into());
        bar.enable_steady_tick(TICK);
        bar
    }

    /// A bar over bytes whose total may become known later.
    pub(crate) fn bytes(&self, text: impl Into<String>) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::no_length());
        bar.set_style(style("{spinner} {msg}  {bytes} {bytes_per_sec}"));
        bar.set_message(text.into());
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Sets where a bar stands; a total of 0 is not known.
    pub(crate) fn set(bar: &ProgressBar, done: u64, total: u64) {
        if total > 0 && bar.length() != Some(total) {
            bar.set_style(style(
                "{spinner} {msg}  [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ));
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// A line above the bars, or alone where there are none.
    pub(crate) fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        // A terminal that is gone is no reason to stop working.
        if self.bars.is_hidden() || self.bars.println(text).is_err() {
            eprintln!("{text}");
        }
    }

    /// Removes every bar.
    pub(crate) fn clear(&self) {
        // As above: a terminal that is gone needs no clearing.
        let _ = self.bars.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid() {
        let progress = Progress::new(true);
        let bar = progress.bytes("x");
        Progress::set(&bar, 1, 0);
        Progress::set(&bar, 1, 2);
        for template in [
            "{spinner} {msg}",
            "{spinner} {msg}  [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        progress.clear();
    }
}
