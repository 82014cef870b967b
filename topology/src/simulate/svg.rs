//! The outcome as a picture: a curve per geography over time, with the waves
//! that opened and what stopped.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::outcome::{Event, Geography, Outcome};
use crate::rollout::gate::Counts;

/// The most geographies that are drawn; the table has all of them.
const MAX_ROWS: usize = 60;

/// Pixels.
const LEFT: f64 = 150.0;
const WIDTH: f64 = 760.0;
const RIGHT: f64 = 170.0;
const ROW: f64 = 64.0;
const CURVE: f64 = 44.0;
const LABEL: f64 = 15.0;

/// The most labels of waves that stand above each other.
const LEVELS: usize = 6;

/// Draws an outcome.
#[must_use]
pub fn svg(outcome: &Outcome) -> String {
    let rows = outcome.geographies.len().min(MAX_ROWS);
    let marks: Vec<&Event> = outcome.events.iter().filter(|event| is_mark(event)).collect();
    let levels = marks.len().clamp(1, LEVELS);
    let top = 54.0 + levels as f64 * LABEL;
    let bottom = top + rows as f64 * ROW;
    let (width, height) = (LEFT + WIDTH + RIGHT, bottom + 46.0);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0}" width="{width}" height="{height:.0}" font-family="system-ui, sans-serif" font-size="12" fill="#1f2933">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="600">{}</text>
<text x="16" y="44" fill="#52606d">{}</text>
"##,
        escape(&outcome.rollout.to_string()),
        escape(&subtitle(outcome))
    );
    days(&mut out, outcome, top, bottom);
    for (index, geography) in outcome.geographies.iter().take(MAX_ROWS).enumerate() {
        row(&mut out, outcome, geography, top + index as f64 * ROW);
    }
    for (index, event) in marks.iter().enumerate() {
        mark(&mut out, outcome, event, top - (levels - index % levels) as f64 * LABEL, bottom);
    }
    let more = outcome.geographies.len() - rows;
    if more > 0 {
        let y = bottom + 36.0;
        let _ = writeln!(out, r#"<text x="16" y="{y:.0}">and {more} more geographies</text>"#);
    }
    out += "</svg>\n";
    out
}

fn is_mark(event: &Event) -> bool {
    event.is_stop || event.what == "opened"
}

fn subtitle(outcome: &Outcome) -> String {
    let Counts { machines, installed, failed, .. } = outcome.total;
    let percent = installed as f64 * 100.0 / machines.max(1) as f64;
    format!(
        "{installed} of {machines} machines have it ({percent:.1} %), {failed} failed; {}",
        outcome.explanation.headline
    )
}

/// Where an instant lies.
fn x(outcome: &Outcome, at: Timestamp) -> f64 {
    let whole = outcome.end.duration_since(outcome.start).as_secs_f64().max(1.0);
    let part = at.duration_since(outcome.start).as_secs_f64() / whole;
    LEFT + WIDTH * part.clamp(0.0, 1.0)
}

/// Days, and the lines between them.
fn days(out: &mut String, outcome: &Outcome, top: f64, bottom: f64) {
    let hours = outcome.end.duration_since(outcome.start).as_hours();
    let every = (hours / 24 / 10).max(1) * 24;
    for hour in (0..=hours).step_by(usize::try_from(every).unwrap_or(24)) {
        let at = outcome.start + jiff::SignedDuration::from_hours(hour);
        let (x, y) = (x(outcome, at), bottom + 18.0);
        let day = TimeZone::UTC.to_datetime(at).strftime("%-d %b");
        let _ = writeln!(
            out,
            r##"<line x1="{x:.1}" y1="{top:.0}" x2="{x:.1}" y2="{bottom:.0}" stroke="#e4e7eb"/><text x="{x:.1}" y="{y:.0}" text-anchor="middle" fill="#52606d">{day}</text>"##
        );
    }
}

/// A geography: its curve, and when it was half and nearly done.
fn row(out: &mut String, outcome: &Outcome, geography: &Geography, top: f64) {
    let base = top + (ROW + CURVE) / 2.0;
    let machines = geography.counts.machines.max(1) as f64;
    let end = LEFT + WIDTH;
    let step = WIDTH / geography.curve.len().saturating_sub(1).max(1) as f64;
    let mut path = format!("M{LEFT:.1} {base:.1}");
    let point = |hour: usize| {
        let have = geography.curve[hour] as f64 / machines;
        (LEFT + step * hour as f64, base - CURVE * have)
    };
    let mut drawn = 0;
    for hour in 1..geography.curve.len() {
        let is_last = hour + 1 == geography.curve.len();
        // Hours in which nothing moved are one line, up to the last of them.
        if geography.curve[hour] == geography.curve[drawn] && !is_last {
            continue;
        }
        for hour in [hour - 1, hour] {
            let (x, y) = point(hour);
            let _ = write!(path, "L{x:.1} {y:.1}");
        }
        drawn = hour;
    }
    let percent = geography.counts.installed as f64 * 100.0 / machines;
    let (name, middle, right) = (escape(geography.place.as_str()), base - CURVE / 2.0, end + 10.0);
    let _ = write!(
        out,
        r##"<line x1="{LEFT}" y1="{base:.1}" x2="{end}" y2="{base:.1}" stroke="#cbd2d9"/>
<path d="{path}L{end:.1} {base:.1}Z" fill="#2f80c2" fill-opacity="0.25" stroke="#2f80c2" stroke-width="1.5"/>
<text x="{:.0}" y="{:.0}" text-anchor="end" font-weight="600">{name}</text>
<text x="{:.0}" y="{:.0}" text-anchor="end" fill="#52606d">{} machines</text>
<text x="{right:.0}" y="{:.0}">{percent:.1} % have it</text>
<text x="{right:.0}" y="{:.0}" fill="#52606d">{} failed, {} too late</text>
"##,
        LEFT - 10.0,
        middle - 2.0,
        LEFT - 10.0,
        middle + 14.0,
        geography.counts.machines,
        middle - 2.0,
        middle + 14.0,
        geography.counts.failed,
        geography.missed,
    );
    for (at, share) in [(geography.half, 0.5), (geography.most, 0.95)] {
        let Some(at) = at else { continue };
        let (x, y) = (x(outcome, at), base - CURVE * share);
        let label = if share > 0.9 { "95 %" } else { "50 %" };
        let _ = writeln!(
            out,
            r##"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="#1f5f99"><title>{label} at {at}</title></circle>"##
        );
    }
}

/// A wave that opened, or a stop.
fn mark(out: &mut String, outcome: &Outcome, event: &Event, y: f64, bottom: f64) {
    let x = x(outcome, event.at);
    let (color, dash) = if event.is_stop { ("#c81e1e", "none") } else { ("#b7791f", "4 3") };
    let name = event.wave.as_deref().unwrap_or("rollout");
    let text = if event.is_stop { format!("{name} stopped") } else { name.to_owned() };
    let is_late = x > LEFT + WIDTH * 0.85;
    let (anchor, from) = if is_late { ("end", x - 4.0) } else { ("start", x + 4.0) };
    let _ = writeln!(
        out,
        r#"<line x1="{x:.1}" y1="{y:.0}" x2="{x:.1}" y2="{bottom:.0}" stroke="{color}" stroke-dasharray="{dash}"/><text x="{from:.1}" y="{:.0}" text-anchor="{anchor}" fill="{color}">{}<title>{}</title></text>"#,
        y + 9.0,
        escape(&text),
        escape(&format!("{}: {}", event.at, event.what))
    );
}

/// Text as it stands in XML; control characters, which XML does not have, are
/// blanks.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
