//! Changes to JSON, by what it says: members that go, come twice, move, take
//! other values or come from elsewhere; depth.

use serde_json::{Map, Value, json};

use super::bytes;
use super::chance::Chance;

/// How often a value is put into a list at most; readers stop at 128.
const NESTED: usize = 140;

/// Changes a document; nothing when the bytes are none.
pub(super) fn change(
    text: &[u8],
    other: &[u8],
    words: &[&str],
    longest: usize,
    chance: &mut Chance,
) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let other: Value = serde_json::from_slice(other).unwrap_or_default();
    for _ in 0..=chance.roll(3) {
        change_somewhere(&mut value, &other, words, chance);
    }
    let changed = serde_json::to_vec(&value).ok()?;
    (changed.len() <= longest).then_some(changed)
}

fn change_somewhere(value: &mut Value, other: &Value, words: &[&str], chance: &mut Chance) {
    let stays = chance.once_in(4);
    match value {
        Value::Object(members) if !members.is_empty() && !stays => {
            let keys: Vec<String> = members.keys().cloned().collect();
            let Some(key) = chance.pick(&keys) else { return };
            if chance.once_in(3) {
                change_members(members, key, &keys, other, words, chance);
            } else if let Some(inner) = members.get_mut(key) {
                change_somewhere(inner, other, words, chance);
            }
        }
        Value::Array(items) if !items.is_empty() && !stays => {
            let at = chance.roll(items.len());
            match chance.roll(6) {
                0 => drop(items.remove(at)),
                1 => {
                    let copy = items[at].clone();
                    let times = if chance.once_in(6) { 200 } else { 1 };
                    items.splice(at..at, std::iter::repeat_n(copy, times));
                }
                2 => items.reverse(),
                _ => change_somewhere(&mut items[at], other, words, chance),
            }
        }
        _ => replace(value, other, words, chance),
    }
}

fn change_members(
    members: &mut Map<String, Value>,
    key: &str,
    keys: &[String],
    other: &Value,
    words: &[&str],
    chance: &mut Chance,
) {
    let Some(value) = members.get(key).cloned() else { return };
    match chance.roll(4) {
        0 => drop(members.remove(key)),
        1 => {
            let to = chance.pick(keys).cloned().unwrap_or_default();
            members.insert(to, value);
        }
        2 => {
            let to = chance.pick(words).copied().unwrap_or("x");
            members.insert(to.to_owned(), some_value(other, chance));
        }
        _ => {
            let mut name = key.as_bytes().to_vec();
            bytes::change(&mut name, &[], words, 300, chance);
            members.insert(String::from_utf8_lossy(&name).into_owned(), value);
        }
    }
}

fn replace(value: &mut Value, other: &Value, words: &[&str], chance: &mut Chance) {
    *value = match chance.roll(9) {
        0 => Value::Null,
        1 => json!(chance.number()),
        2 => json!(-(chance.roll(1000) as i64)),
        3 => json!(0.5),
        4 => some_value(other, chance),
        5 => json!([]),
        6 => {
            let mut nested = std::mem::take(value);
            for _ in 0..chance.roll(NESTED) {
                nested = json!([nested]);
            }
            nested
        }
        7 => json!(chance.pick(words).copied().unwrap_or_default()),
        _ => match value {
            Value::String(text) => {
                let mut all = text.as_bytes().to_vec();
                bytes::change(&mut all, &[], words, 4096, chance);
                json!(String::from_utf8_lossy(&all))
            }
            _ => json!({}),
        },
    };
}

/// A copy of some value, however deep.
fn some_value(value: &Value, chance: &mut Chance) -> Value {
    let inner: Vec<&Value> = match value {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    match chance.pick(&inner) {
        Some(inner) if !chance.once_in(3) => some_value(inner, chance),
        _ => value.clone(),
    }
}
