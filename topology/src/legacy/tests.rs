//! Reading status.

use super::*;

const WHOLE: &str = "V=1&U=8b4e1c2f&C=au&A=i&I=com_microsoft.q311889_xp_5081&D=&P=5.1.a28.2.100.1.0&L=en-US&S=f&E=80070643&M=no+room%3A+disk+C%25&X=proxy.example";

fn with(from: &str, to: &str) -> Result<Status, Error> {
    assert!(WHOLE.contains(from), "{from}");
    Status::parse(&WHOLE.replacen(from, to, 1))
}

#[test]
fn every_field_is_read() {
    let status = Status::parse(WHOLE).unwrap();
    assert_eq!(
        status,
        Status {
            ping: "8b4e1c2f".to_owned(),
            client: "au".to_owned(),
            activity: Activity::Installation,
            item: "com_microsoft.q311889_xp_5081".to_owned(),
            device: String::new(),
            platform: "5.1.a28.2.100.1.0".to_owned(),
            language: "en-US".to_owned(),
            outcome: Outcome::Failure,
            error: 0x8007_0643,
            message: "no room: disk C%".to_owned(),
            proxy: "proxy.example".to_owned(),
        }
    );
    // Names and letters of either case, in any order, with others between them.
    let lower = Status::parse("s=F&a=I&u=8b4e1c2f&Z=9&v=1").unwrap();
    assert_eq!((lower.activity, lower.outcome), (status.activity, status.outcome));
    assert_eq!((lower.ping, lower.error), (status.ping, 0));
}

#[test]
fn every_code_has_its_word() {
    let activities = ["n", "s", "d", "w", "i", "q"];
    let words =
        activities.map(|code| with("A=i", &format!("A={code}")).unwrap().activity.to_string());
    assert_eq!(
        words,
        ["init", "self-update", "detection", "download", "installation", "other (q)"]
    );
    let outcomes = ["s", "r", "f", "c", "d", "n", "p"];
    let words = outcomes.map(|code| with("S=f", &format!("S={code}")).unwrap().outcome.to_string());
    let said =
        ["success", "reboot-required", "failure", "cancelled", "declined", "no-items", "pending"];
    assert_eq!(words, said);
}

#[test]
fn what_is_wrong_is_said() {
    for (from, to, said) in [
        ("V=1", "V=2", "field V is \"2\"; it has to be 1"),
        ("V=1&", "", "there is no field V"),
        ("U=8b4e1c2f", "U=+", "there is no field U"),
        ("A=i&", "", "there is no field A"),
        ("A=i", "A=ii", "field A is \"ii\"; it has to be one letter"),
        ("S=f", "S=x", "field S is \"x\"; it has to be s, r, f, c, d, n or p"),
        ("S=f", "S=f&s=s", "field S stands there twice"),
        ("E=80070643", "E=+1", "field E is \" 1\"; it has to be up to 8 hexadecimal digits"),
        (
            "E=80070643",
            "E=180070643",
            "field E is \"180070643\"; it has to be up to 8 hexadecimal digits",
        ),
        ("%25", "%2", "field M: a '%' is not followed by two hexadecimal digits"),
    ] {
        assert_eq!(with(from, to).unwrap_err().to_string(), said, "{to}");
    }
    let long = format!("{WHOLE}{}", "x".repeat(MAX_QUERY));
    assert_eq!(Status::parse(&long), Err(Error::TooLong));
}

#[test]
fn nothing_garbles_a_terminal() {
    let status = with("M=no+room", "M=%1b%5B2J%0A%ff").unwrap();
    assert_eq!(status.message, " [2J \u{fffd}: disk C%");
}
