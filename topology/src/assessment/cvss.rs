//! The base score of a CVSS vector, version 3.0 or 3.1, by the equations of
//! the specification (section 7.1).

use super::Score;

/// The base score of a vector such as
/// `CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H`. `None` for what is no such
/// vector, other versions included.
#[must_use]
pub fn base_score(vector: &str) -> Option<Score> {
    let metrics = vector.strip_prefix("CVSS:3.1/").or_else(|| vector.strip_prefix("CVSS:3.0/"))?;
    let metric = |name: &str| {
        let mut found = metrics.split('/').filter_map(|one| one.split_once(':'));
        found.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let is_changed = match metric("S")? {
        "U" => false,
        "C" => true,
        _ => return None,
    };
    let vector = match metric("AV")? {
        "N" => 0.85,
        "A" => 0.62,
        "L" => 0.55,
        "P" => 0.2,
        _ => return None,
    };
    let complexity = match metric("AC")? {
        "L" => 0.77,
        "H" => 0.44,
        _ => return None,
    };
    let privileges = match (metric("PR")?, is_changed) {
        ("N", _) => 0.85,
        ("L", false) => 0.62,
        ("L", true) => 0.68,
        ("H", false) => 0.27,
        ("H", true) => 0.5,
        _ => return None,
    };
    let interaction = match metric("UI")? {
        "N" => 0.85,
        "R" => 0.62,
        _ => return None,
    };
    let loss = |name| {
        Some(match metric(name)? {
            "H" => 0.56,
            "L" => 0.22,
            "N" => 0.0,
            _ => return None,
        })
    };
    let kept: f64 = (1.0 - loss("C")?) * (1.0 - loss("I")?) * (1.0 - loss("A")?);
    let lost: f64 = 1.0 - kept;
    let impact = if is_changed {
        7.52 * (lost - 0.029) - 3.25 * (lost - 0.02).powi(15)
    } else {
        6.42 * lost
    };
    if impact <= 0.0 {
        return Score::from_tenths(0);
    }
    let exploitability = 8.22 * vector * complexity * privileges * interaction;
    let factor = if is_changed { 1.08 } else { 1.0 };
    Score::from_number(round_up((factor * (impact + exploitability)).min(10.0)))
}

/// The smallest number with one decimal that is not less, as the specification
/// computes it (appendix A).
fn round_up(number: f64) -> f64 {
    let scaled = (number * 100_000.0).round();
    if scaled % 10_000.0 == 0.0 {
        scaled / 100_000.0
    } else {
        ((scaled / 10_000.0).floor() + 1.0) / 10.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn known_scores() {
        let score = |vector: &str| base_score(vector).map(Score::tenths);
        // As published for CVE-2021-44228, CVE-2014-0160, CVE-2024-21338 and others.
        assert_eq!(score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"), Some(100));
        assert_eq!(score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"), Some(75));
        assert_eq!(score("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"), Some(78));
        assert_eq!(score("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), Some(98));
        assert_eq!(score("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"), Some(61));
        assert_eq!(score("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N"), Some(0));
        assert_eq!(score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/E:F/RL:O"), Some(98));
    }

    #[test]
    fn what_is_none_has_no_score() {
        for wrong in [
            "",
            "CVSS:3.1/",
            "CVSS:2.0/AV:N",
            "AV:N/AC:L/Au:N/C:P/I:P/A:P",
            "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
            "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
            "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
        ] {
            assert_eq!(base_score(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "CVSS:3.1/([A-Z]{1,2}:[A-Z]/){0,9}.{0,9}") {
            let _ = base_score(&text);
        }
    }
}
