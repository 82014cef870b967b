//! The Exploit Prediction Scoring System's daily file: CSV, packed or not.
//!
//! <https://www.first.org/epss/data_stats>: a comment with model and day, a
//! header, then one line for each vulnerability.
//!
//! A packed file proves by its checksum that it is whole. A plain one that was
//! cut between two lines can't be told from a shorter one; importing refuses a
//! file that has much less than the one before.

use std::io::Read;

use flate2::bufread::GzDecoder;
use jiff::civil::Date;
use patchmesh_topology::assessment::knowledge::Likelihoods;
use patchmesh_topology::assessment::{CveId, Share};

use super::{Error, without_mark};

/// The longest file once unpacked; there were 12 MiB in 2026.
const MAX_BYTES: usize = 128 << 20;

/// The most lines; there were some 300,000 in 2026.
const MAX_LINES: usize = 3_000_000;

/// Reads a whole file, packed with gzip or not.
///
/// # Errors
/// Why nothing of it counts.
pub fn read(bytes: &[u8]) -> Result<Likelihoods, Error> {
    if bytes.starts_with(b"\x1f\x8b") {
        return parse(&unpack(bytes)?);
    }
    if bytes.len() > MAX_BYTES {
        return Err(Error::Long { limit: MAX_BYTES });
    }
    parse(without_mark(bytes))
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut decoder = GzDecoder::new(bytes);
    let mut unpacked = Vec::new();
    let read = (&mut decoder).take(MAX_BYTES as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Ok(length) if length > MAX_BYTES => return Err(Error::Long { limit: MAX_BYTES }),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Error::Cut),
        Err(error) => return Err(Error::Unpack(error)),
    }
    if !decoder.into_inner().is_empty() {
        return Err(Error::entry("end", "bytes follow the packed file"));
    }
    Ok(unpacked)
}

fn parse(bytes: &[u8]) -> Result<Likelihoods, Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::entry(format!("byte {}", error.valid_up_to()), "is no text"))?;
    if !text.ends_with('\n') {
        return Err(Error::Cut);
    }
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let date = lines.next().and_then(|(_, line)| score_date(line)).ok_or_else(|| {
        Error::entry("line 1", "is not `#model_version:…,score_date:YYYY-MM-DD…`")
    })?;
    if lines.next().is_none_or(|(_, line)| line.trim() != "cve,epss,percentile") {
        return Err(Error::entry("line 2", "is not `cve,epss,percentile`"));
    }
    let mut rows = Vec::new();
    for (number, line) in lines {
        if rows.len() == MAX_LINES {
            return Err(Error::Many { place: "the file".to_owned(), limit: MAX_LINES });
        }
        rows.push(row(line).map_err(|what| Error::entry(format!("line {number}"), what))?);
    }
    if rows.is_empty() {
        return Err(Error::Cut);
    }
    rows.sort_unstable_by_key(|row| row.0);
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::entry(pair[0].0.to_string(), "comes twice"));
    }
    Ok(Likelihoods { date: Some(date), rows })
}

fn score_date(line: &str) -> Option<Date> {
    let fields = line.strip_prefix('#')?;
    let date = fields.split(',').find_map(|field| field.trim().strip_prefix("score_date:"))?;
    date.get(..10)?.parse().ok()
}

fn row(line: &str) -> Result<(CveId, Share, Share), String> {
    let mut fields = line.trim_end().split(',');
    let (Some(cve), Some(score), Some(percentile), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("has not three fields".to_owned());
    };
    let share = |text: &str| {
        let share = text.parse().ok().and_then(Share::from_number);
        share.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("{shown:?} is no number from 0 to 1")
        })
    };
    let cve = cve
        .parse()
        .map_err(|error: patchmesh_topology::assessment::cve::NoCve| error.to_string())?;
    Ok((cve, share(score)?, share(percentile)?))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::assess::samples;

    #[test]
    fn reads_packed_and_plain() {
        let plain = read(samples::EPSS.as_bytes()).expect("scores");
        assert_eq!(plain.date, Some(date(2024, 4, 1)));
        let share = |number| Share::from_number(number).expect("a share");
        assert_eq!(plain.rows.len(), 3);
        let cve = "CVE-2024-21338".parse().expect("a CVE");
        assert!(plain.rows.contains(&(cve, share(0.94321), share(0.99887))));
        assert_eq!(read(&samples::packed(samples::EPSS)).expect("scores"), plain);
    }

    #[test]
    fn a_packed_file_that_was_cut_is_refused_wherever() {
        let whole = samples::packed(samples::EPSS);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut to {length}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(read(&longer).is_err());
    }

    #[test]
    fn a_plain_file_cut_within_a_line_is_refused() {
        let whole = samples::EPSS.as_bytes();
        for length in 0..whole.len() {
            let is_between = whole[..length].ends_with(b"\n") && length > 100;
            assert_eq!(read(&whole[..length]).is_ok(), is_between, "cut to {length}");
        }
    }

    #[test]
    fn says_which_line_is_wrong() {
        let wrong = |from: &str, to: &str| {
            let text = samples::EPSS.replace(from, to);
            assert_ne!(text, samples::EPSS, "{from}");
            read(text.as_bytes()).expect_err("refused").to_string()
        };
        assert!(wrong("0.94321", "1.2").starts_with("line 4"));
        assert!(wrong("0.94321", "NaN").starts_with("line 4"));
        assert!(wrong("0.94321", "1e999").starts_with("line 4"));
        assert!(wrong("0.94321", "0.9,0.9").starts_with("line 4"));
        assert!(wrong("CVE-2024-21338", "CVE-1").starts_with("line 4"));
        assert!(wrong("CVE-2024-21338", "CVE-2023-0001").contains("twice"));
        assert!(wrong("score_date", "date").starts_with("line 1"));
        assert!(wrong("cve,epss", "cve;epss").starts_with("line 2"));
    }

    #[test]
    fn a_small_file_that_unpacks_to_a_huge_one_is_refused() {
        let huge = samples::packed(&"\n".repeat(MAX_BYTES + 10));
        assert!(huge.len() < 1 << 20);
        assert!(matches!(read(&huge), Err(Error::Long { .. })));
    }
}
