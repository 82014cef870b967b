//! Status in web logs: the W3C Extended Log File Format
//! (<https://www.w3.org/TR/WD-logfile.html>) as IIS writes it, line by line.

use std::net::IpAddr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::book::Line;
use super::{Error, PATH, Status};

/// Bytes of a line of a log.
pub const MAX_LINE: usize = 64 << 10;

/// Fields of a log that are told apart.
const MAX_FIELDS: usize = 128;

/// Reads one log; knows what its directives said.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    columns: Option<Columns>,
    date: Option<Date>,
}

/// Where in a line the fields are.
#[derive(Debug, Clone)]
struct Columns {
    count: usize,
    date: Option<usize>,
    time: usize,
    address: usize,
    method: Option<usize>,
    stem: usize,
    query: usize,
}

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It comes before any `#Fields`.
    #[error("no `#Fields:` line comes before it: this is no log of the W3C format")]
    NoFields,
    /// `#Fields` without one that is needed.
    #[error(
        "the log has no field {0}; date, time, c-ip, cs-uri-stem and cs-uri-query have to be logged"
    )]
    Lacking(&'static str),
    /// Too many of them.
    #[error("the log has more than {MAX_FIELDS} fields")]
    TooMany,
    /// Another number of fields than announced.
    #[error("it has {found} fields, and `#Fields:` announced {announced}")]
    Count {
        /// Fields that are there.
        found: usize,
        /// Fields that were announced.
        announced: usize,
    },
    /// A field that cannot be read.
    #[error("{value:?} is no {kind}")]
    Value {
        /// What it should be.
        kind: &'static str,
        /// What it is.
        value: String,
    },
    /// A status that says nothing.
    #[error(transparent)]
    Status(#[from] Error),
}

impl Reader {
    /// Reads the next line, without its end. `None`: it is about something else.
    ///
    /// # Errors
    /// Why it cannot be read; the next line may be.
    pub fn read(&mut self, line: &str) -> Result<Option<Line>, Fault> {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(directive) = line.strip_prefix('#') {
            return self.follow(directive).map(|()| None);
        }
        if line.trim().is_empty() {
            return Ok(None);
        }
        let columns = self.columns.as_ref().ok_or(Fault::NoFields)?;
        let values: Vec<&str> = line.split(' ').filter(|value| !value.is_empty()).collect();
        let of = |column: usize| values.get(column).copied().unwrap_or_default();
        let is_get = columns.method.is_none_or(|one| of(one).eq_ignore_ascii_case("GET"));
        if !is_get || !of(columns.stem).eq_ignore_ascii_case(PATH) {
            return Ok(None);
        }
        if values.len() != columns.count {
            return Err(Fault::Count { found: values.len(), announced: columns.count });
        }
        let query = of(columns.query);
        Status::parse(query)?;
        let date = match columns.date {
            Some(column) => Some(date(of(column))?),
            None => self.date,
        };
        let time: Time = value("time of day, such as 15:06:35", of(columns.time))?;
        let at = date.ok_or(Fault::Lacking("date"))?.to_datetime(time);
        let at = TimeZone::UTC.to_timestamp(at).map_err(|_| no("time", of(columns.time)))?;
        Ok(Some(Line {
            address: value::<IpAddr>("address", of(columns.address))?,
            at,
            query: query.to_owned(),
            imported: true,
        }))
    }

    /// `#Fields: date time …` and `#Date: 2003-08-01 15:06:35`; others say nothing
    /// that matters here.
    fn follow(&mut self, directive: &str) -> Result<(), Fault> {
        let (name, rest) = directive.split_once(':').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("Date") {
            self.date = Some(date(rest.split_whitespace().next().unwrap_or_default())?);
        }
        if name.eq_ignore_ascii_case("Fields") {
            self.columns = None;
            self.columns = Some(Columns::read(rest)?);
        }
        Ok(())
    }
}

impl Columns {
    fn read(names: &str) -> Result<Self, Fault> {
        let names: Vec<&str> = names.split_whitespace().take(MAX_FIELDS + 1).collect();
        if names.len() > MAX_FIELDS {
            return Err(Fault::TooMany);
        }
        let find = |name: &str| names.iter().position(|one| one.eq_ignore_ascii_case(name));
        let need = |name| find(name).ok_or(Fault::Lacking(name));
        Ok(Self {
            count: names.len(),
            date: find("date"),
            time: need("time")?,
            address: need("c-ip")?,
            method: find("cs-method"),
            stem: need("cs-uri-stem")?,
            query: need("cs-uri-query")?,
        })
    }
}

fn date(text: &str) -> Result<Date, Fault> {
    value("date, such as 2003-08-01", text)
}

fn value<T: std::str::FromStr>(kind: &'static str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| no(kind, text))
}

/// Cut: a line may be long.
fn no(kind: &'static str, value: &str) -> Fault {
    Fault::Value { kind, value: value.chars().take(80).collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FIELDS: &str = "#Fields: date time c-ip cs-username s-ip s-port cs-method cs-uri-stem cs-uri-query sc-status cs(User-Agent)";
    const STATUS: &str = "2003-08-01 15:06:35 192.168.10.7 - 192.168.10.1 80 GET /wutrack.bin V=1&U=8b4e&C=au&A=w&I=&D=&P=5.1&L=en&S=s&E=00000000&M=&X= 200 Industry+Update+Control";

    #[test]
    fn status_is_found_among_the_rest() {
        let mut log = Reader::default();
        for line in [
            "#Software: Microsoft Internet Information Services 6.0",
            "#Version: 1.0",
            "#Date: 2003-08-01 00:00:00",
            FIELDS,
            "2003-08-01 15:06:34 192.168.10.7 - 192.168.10.1 80 GET /iuident.cab 0308011506 200 x",
            "2003-08-01 15:06:34 192.168.10.7 - 192.168.10.1 80 HEAD /wutrack.bin V=1 200 x",
            "",
        ] {
            assert_eq!(log.read(line), Ok(None), "{line}");
        }
        let found =
            log.read(&format!("{}\r", STATUS.replace("wutrack", "WUTrack"))).unwrap().unwrap();
        assert_eq!(found.address, IpAddr::from([192, 168, 10, 7]));
        assert_eq!(found.at.to_string(), "2003-08-01T15:06:35Z");
        assert!(found.imported);
        assert_eq!(Status::parse(&found.query).unwrap().ping, "8b4e");
    }

    #[test]
    fn the_date_may_stand_at_the_top() {
        let mut log = Reader::default();
        let short = STATUS.replace("2003-08-01 ", "");
        log.read(&FIELDS.replace("date ", "")).unwrap();
        assert_eq!(log.read(&short), Err(Fault::Lacking("date")));
        log.read("#Date: 2003-08-02 00:00:00").unwrap();
        assert_eq!(log.read(&short).unwrap().unwrap().at.to_string(), "2003-08-02T15:06:35Z");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut log = Reader::default();
        assert_eq!(log.read(STATUS), Err(Fault::NoFields));
        assert_eq!(log.read("#Fields: date time c-ip"), Err(Fault::Lacking("cs-uri-stem")));
        assert_eq!(log.read(STATUS), Err(Fault::NoFields), "and what came before counts no more");
        log.read(FIELDS).unwrap();
        for (from, to, said) in [
            ("200 Industry", "Industry", "it has 10 fields, and `#Fields:` announced 11"),
            ("15:06:35", "25:06:35", "\"25:06:35\" is no time of day, such as 15:06:35"),
            ("2003-08-01", "08/01/03", "\"08/01/03\" is no date, such as 2003-08-01"),
            ("192.168.10.7", "pc-7", "\"pc-7\" is no address"),
            ("S=s", "S=z", "field S is \"z\"; it has to be s, r, f, c, d, n or p"),
        ] {
            let fault = log.read(&STATUS.replacen(from, to, 1)).unwrap_err();
            assert_eq!(fault.to_string(), said);
        }
        assert!(log.read(STATUS).unwrap().is_some(), "and the next line is read");
        let many = format!("#Fields: {}", "x ".repeat(MAX_FIELDS + 1));
        assert_eq!(log.read(&many), Err(Fault::TooMany));
    }
}
