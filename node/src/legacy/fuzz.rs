//! What anybody may send as status, and what may stand in a web log.

use patchmesh_topology::legacy::log::{MAX_LINE, Reader};
use patchmesh_topology::legacy::{MAX_QUERY, Status};

use crate::fuzz::{Form, Target, word};

const QUERIES: [&str; 3] = [
    "V=1&U=8b4e1c2f5d2b424a9a7a5f1d5a4f0f3e&C=au&A=w&I=&D=&P=5.1.a28.2.100.1.0&L=en-US&S=s&E=00000000&M=&X=",
    "V=1&U=1&C=au&A=i&I=com_microsoft.q311889_xp_5081&D=pci&P=5.0&L=de&S=f&E=0x80070643&M=no+room%3a%20%ff&X=p",
    "v=1&u=a&a=q&s=N",
];

/// A query is read or not; what it says is plain and no longer than it.
#[test]
fn queries() {
    let read = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let outcome = Status::parse(&text);
        if let Ok(status) = &outcome {
            assert!(text.len() <= MAX_QUERY && !status.ping.trim().is_empty());
            let Status { ping, client, item, device, platform, language, message, proxy, .. } =
                status;
            let all = [ping, client, item, device, platform, language, message, proxy];
            assert!(all.iter().all(|one| !one.contains(char::is_control)));
            // A byte that is no text becomes a character of three.
            assert!(all.iter().map(|one| one.len()).sum::<usize>() <= 3 * text.len());
        }
        word(&outcome)
    };
    Target::new("legacy-queries", Form::Bytes)
        .with_words(&["V=1", "&", "=", "%", "+", "U=", "A=", "S=", "E=0x", "%00", "\u{e9}"])
        .run(QUERIES, read);
}

/// A log is read to its end, whatever stands in it.
#[test]
fn logs() {
    let log = |fields: &str, line: &str| {
        format!("#Software: IIS\n#Date: 2003-08-01 00:00:00\n#Fields: {fields}\n{line}\n")
    };
    let seeds = [
        log(
            "date time c-ip cs-method cs-uri-stem cs-uri-query sc-status",
            &format!("2003-08-01 15:06:35 10.0.0.7 GET /wutrack.bin {} 200", QUERIES[0]),
        ),
        log(
            "time c-ip cs-uri-stem cs-uri-query",
            &format!("15:06:35 fd00::7 /WUTRACK.BIN {}", QUERIES[1]),
        ),
    ];
    let read = |input: &[u8]| {
        let mut log = Reader::default();
        let mut words = String::new();
        for line in input.split(|byte| *byte == b'\n').filter(|line| line.len() <= MAX_LINE) {
            let outcome = log.read(&String::from_utf8_lossy(line));
            if let Ok(Some(line)) = &outcome {
                assert!(line.imported && Status::parse(&line.query).is_ok());
            }
            words = word(&outcome);
        }
        words
    };
    Target::new("legacy-logs", Form::Bytes)
        .with_words(&["#Fields: ", "#Date: ", "date", "time", " - ", "\r\n", "/wutrack.bin", "GET"])
        .run(seeds, read);
}
