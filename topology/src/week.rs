//! Days of the week and times of the day, as people write them.

/// Minutes of a day.
pub(crate) const DAY: u16 = 24 * 60;

const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// All days, one bit each, Monday the lowest.
pub(crate) const DAILY: u8 = 0x7f;

/// `Mon-Fri`, `Mon,Wed`, `Fri-Mon`: runs of three and more are drawn together.
fn days(bits: u8) -> String {
    let is_on = |day: usize| bits >> (day % 7) & 1 == 1;
    // A run over Sunday begins where the day before it is off.
    let start = (0..7).find(|&day| is_on(day) && !is_on(day + 6)).unwrap_or(0);
    let mut words: Vec<String> = Vec::new();
    let mut day = start;
    while day < start + 7 {
        if !is_on(day) {
            day += 1;
            continue;
        }
        let length = (0..7).take_while(|&step| day + step < start + 7 && is_on(day + step)).count();
        let name = |day: usize| NAMES[day % 7];
        match length {
            1 => words.push(name(day).to_owned()),
            2 => words.extend([name(day).to_owned(), name(day + 1).to_owned()]),
            _ => words.push(format!("{}-{}", name(day), name(day + length - 1))),
        }
        day += length;
    }
    words.join(",")
}

/// The days of a text such as `Mon-Fri REST`, and its rest; without days it is daily.
pub(crate) fn days_and_rest(text: &str) -> Option<(u8, &str)> {
    let mut words = text.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    match second {
        None => Some((DAILY, first)),
        Some(rest) => Some((read_days(first)?, rest)),
    }
}

/// What [`days_and_rest`] reads.
pub(crate) fn with_days(bits: u8, rest: &str) -> String {
    if bits == DAILY { rest.to_owned() } else { format!("{} {rest}", days(bits)) }
}

/// Minutes after midnight as `HH:MM`.
pub(crate) fn time(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// The bits of what [`days`] writes, of single days and of `daily`.
fn read_days(text: &str) -> Option<u8> {
    let mut bits = 0_u8;
    if text.eq_ignore_ascii_case("daily") {
        return Some(DAILY);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        bits |= (first..=first + length).fold(0, |bits, day| bits | 1 << (day % 7));
    }
    Some(bits)
}

fn day(text: &str) -> Option<usize> {
    NAMES.iter().position(|name| name.eq_ignore_ascii_case(text))
}

/// Minutes after midnight of `HH:MM`, up to 24:00.
pub(crate) fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 24 && minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}
