//! Conditional and range requests, as RFC 9110 sections 13 and 14 have them.
//! Pure: headers and validators in, a verdict out.
//!
//! What always holds: a field that cannot be read counts as absent, as the RFC
//! demands, except in `If-Match`, where that would change something unwanted.

use std::ops::Range;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, header};

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validators<'a> {
    /// Strong, with its quotes.
    pub(super) etag: &'a str,
    /// Whole seconds. Absent where one time would stand for two contents.
    pub(super) modified: Option<SystemTime>,
    pub(super) length: u64,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 200, everything.
    Whole,
    /// 206, this part; never empty.
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

/// Judges a GET or HEAD request in the order of RFC 9110, section 13.2.2.
pub(super) fn judge(method: &Method, headers: &HeaderMap, file: Validators<'_>) -> Verdict {
    if headers.contains_key(header::IF_MATCH) {
        if !lists(headers, header::IF_MATCH, file.etag, false) {
            return Verdict::PreconditionFailed;
        }
    } else if let (Some(since), Some(modified)) =
        (date(headers, header::IF_UNMODIFIED_SINCE), file.modified)
        && modified > since
    {
        return Verdict::PreconditionFailed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if lists(headers, header::IF_NONE_MATCH, file.etag, true) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) =
        (date(headers, header::IF_MODIFIED_SINCE), file.modified)
        && modified <= since
    {
        return Verdict::NotModified;
    }
    if method != Method::GET || !range_applies(headers, file) {
        return Verdict::Whole;
    }
    match text(headers, header::RANGE).and_then(|range| parse_range(range, file.length)) {
        None => Verdict::Whole,
        Some(None) => Verdict::Unsatisfiable,
        Some(Some(part)) => Verdict::Part(part),
    }
}

/// Whether `If-Range` lets a range count. A part of an older content must never
/// be joined to the newer one, so only a strong and exact match will do.
fn range_applies(headers: &HeaderMap, file: Validators<'_>) -> bool {
    if !headers.contains_key(header::IF_RANGE) {
        return true;
    }
    let Some(condition) = text(headers, header::IF_RANGE) else { return false };
    if condition.starts_with('"') || condition.starts_with("W/") {
        return condition == file.etag;
    }
    let since = httpdate::parse_http_date(condition).ok();
    since.is_some() && since == file.modified
}

/// One range of bytes: `None` if the field says nothing we follow, `Some(None)`
/// if it lies outside. Several ranges are answered by the whole, which section
/// 14.2 allows; none of our clients asks for them, and they invite abuse.
fn parse_range(field: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let range = match (first, last) {
        ("", suffix) => length.saturating_sub(number(suffix)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some((range.start < range.end).then_some(range))
}

/// Digits only; what does not fit 64 bits lies beyond every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Whether a list of entity tags has `etag`, or is `*`.
fn lists(headers: &HeaderMap, name: HeaderName, etag: &str, weak: bool) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.trim() == "*"
            || list.split(',').map(str::trim).any(|tag| {
                // Our tags are hexadecimal, so a comma never stands inside one.
                let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
                tag == etag
            })
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const THEN: &str = "Mon, 23 Nov 2026 10:00:00 GMT";
    const BEFORE: &str = "Mon, 23 Nov 2026 09:59:59 GMT";
    const AFTER: &str = "Mon, 23 Nov 2026 10:00:01 GMT";

    fn judged(method: &Method, fields: &[(HeaderName, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        let modified = httpdate::parse_http_date(THEN).ok();
        judge(method, &headers, Validators { etag: "\"abc\"", modified, length: 1000 })
    }

    fn get(fields: &[(HeaderName, &str)]) -> Verdict {
        judged(&Method::GET, fields)
    }

    #[test]
    fn ranges() {
        let range = |value: &str| get(&[(header::RANGE, value)]);
        assert_eq!(range("bytes=0-0"), Verdict::Part(0..1));
        assert_eq!(range("bytes=10-19"), Verdict::Part(10..20));
        assert_eq!(range("bytes=990-"), Verdict::Part(990..1000));
        assert_eq!(range("bytes=-10"), Verdict::Part(990..1000));
        assert_eq!(range("bytes=-5000"), Verdict::Part(0..1000));
        assert_eq!(range("bytes=500-99999999999999999999999"), Verdict::Part(500..1000));
        for outside in
            ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999999999-"]
        {
            assert_eq!(range(outside), Verdict::Unsatisfiable, "{outside}");
        }
        for ignored in [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=-",
            "bytes=",
            "lines=1-2",
            "bytes=0-1,5-6",
            "bytes=+1-2",
            "1-2",
        ] {
            assert_eq!(range(ignored), Verdict::Whole, "{ignored}");
        }
        assert_eq!(judged(&Method::HEAD, &[(header::RANGE, "bytes=0-1")]), Verdict::Whole);
    }

    #[test]
    fn an_empty_file_has_no_range() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-".parse().unwrap());
        let file = Validators { etag: "\"e\"", modified: None, length: 0 };
        assert_eq!(judge(&Method::GET, &headers, file), Verdict::Unsatisfiable);
    }

    #[test]
    fn not_modified() {
        assert_eq!(get(&[(header::IF_NONE_MATCH, "\"x\", W/\"abc\"")]), Verdict::NotModified);
        assert_eq!(get(&[(header::IF_NONE_MATCH, "*")]), Verdict::NotModified);
        assert_eq!(get(&[(header::IF_NONE_MATCH, "\"x\"")]), Verdict::Whole);
        assert_eq!(get(&[(header::IF_MODIFIED_SINCE, THEN)]), Verdict::NotModified);
        assert_eq!(get(&[(header::IF_MODIFIED_SINCE, AFTER)]), Verdict::NotModified);
        assert_eq!(get(&[(header::IF_MODIFIED_SINCE, BEFORE)]), Verdict::Whole);
        assert_eq!(get(&[(header::IF_MODIFIED_SINCE, "yesterday")]), Verdict::Whole);
        // The tag decides where both are given.
        let both = [(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, THEN)];
        assert_eq!(get(&both), Verdict::Whole);
        assert_eq!(
            judged(&Method::HEAD, &[(header::IF_NONE_MATCH, "\"abc\"")]),
            Verdict::NotModified
        );
    }

    #[test]
    fn preconditions() {
        assert_eq!(get(&[(header::IF_MATCH, "\"abc\"")]), Verdict::Whole);
        assert_eq!(get(&[(header::IF_MATCH, "W/\"abc\"")]), Verdict::PreconditionFailed);
        assert_eq!(get(&[(header::IF_UNMODIFIED_SINCE, BEFORE)]), Verdict::PreconditionFailed);
        assert_eq!(get(&[(header::IF_UNMODIFIED_SINCE, THEN)]), Verdict::Whole);
    }

    #[test]
    fn a_range_of_another_content_is_answered_by_the_whole() {
        let with =
            |condition: &str| get(&[(header::RANGE, "bytes=10-"), (header::IF_RANGE, condition)]);
        for same in ["\"abc\"", THEN] {
            assert_eq!(with(same), Verdict::Part(10..1000), "{same}");
        }
        for other in ["\"x\"", "W/\"abc\"", BEFORE, AFTER, "nonsense"] {
            assert_eq!(with(other), Verdict::Whole, "{other}");
        }
    }

    #[test]
    fn without_a_time_nothing_is_unmodified_since() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MODIFIED_SINCE, AFTER.parse().unwrap());
        let file = Validators { etag: "\"e\"", modified: None, length: 10 };
        assert_eq!(judge(&Method::GET, &headers, file), Verdict::Whole);
        let file = Validators {
            modified: Some(SystemTime::now() - Duration::from_secs(86_400 * 3650)),
            ..file
        };
        assert_eq!(judge(&Method::GET, &headers, file), Verdict::NotModified);
    }
}
