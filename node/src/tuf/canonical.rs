//! Canonical JSON: the one byte form of a JSON value that TUF signs and derives key ids from.
//!
//! The rules are those of `securesystemslib`, which every TUF implementation follows: no white space, object keys in
//! code point order, only `"` and `\` escaped, integers only, no Unicode normalisation.
//!
//! The `olpc-cjson` crate is not used because it deviates where names are unusual: it normalises text to NFC and it
//! sorts keys with their closing quote, so that `a b` comes before `a`. Signatures over such names made by other
//! implementations would not verify.

use serde_json::Value;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The value holds a number that is not an integer within 64 bits.
    #[error("{0} is not an integer; canonical JSON has no other numbers")]
    NotAnInteger(String),
}

/// Returns the canonical form of `value`.
pub fn to_vec(value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write_value(&mut out, value)?;
    Ok(out)
}

/// Recursion is bounded: values come from `serde_json`, which refuses more than 128 levels.
fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), Error> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(Error::NotAnInteger(number.to_string()));
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here rather than trusting the map, whose order depends on a `serde_json` feature.
            // Order of UTF-8 bytes is order of code points.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(out, name);
                out.push(b':');
                write_value(out, field)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Expected values are what `securesystemslib.formats.encode_canonical` returns.
    #[test]
    fn agrees_with_the_reference() {
        for (value, expected) in [
            (json!([]), "[]"),
            (json!({}), "{}"),
            (json!({"y": 2, "x": [1, true, null]}), r#"{"x":[1,true,null],"y":2}"#),
            (json!({"a b": 1, "a": 2, "a!": 3}), r#"{"a":2,"a b":1,"a!":3}"#),
            (json!("a\"b\\c\nd"), "\"a\\\"b\\\\c\nd\""),
            (json!("e\u{301}"), "\"e\u{301}\""),
            (json!({"\u{10000}": 1, "\u{ffff}": 2}), "{\"\u{ffff}\":2,\"\u{10000}\":1}"),
            (json!(-5), "-5"),
            (json!(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(to_vec(&value).unwrap(), expected.as_bytes(), "{value}");
        }
    }

    #[test]
    fn fractions_have_no_canonical_form() {
        assert_eq!(to_vec(&json!({"x": 8.5})), Err(Error::NotAnInteger("8.5".into())));
    }
}
