//! Changes to protobuf messages, by what their bytes say: fields that go, come
//! twice, swap, take other values or come from elsewhere; lists that grow; depth.
//! Lengths stay right, so that a change deep inside still reaches what reads it.

use std::collections::HashSet;

use prost::bytes::Buf;
use prost::encoding::{decode_varint, encode_varint};

use super::chance::Chance;
use super::{GROWN, bytes};

/// How deep messages are looked for.
const DEPTH: usize = 12;

/// How often a message is put inside itself at most; readers stop at 100.
const NESTED: usize = 130;

/// Field numbers beyond this are taken for chance.
const HIGHEST: u64 = 200;

#[derive(Debug, Clone, PartialEq)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Varint(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// Changes a message; nothing when the bytes are none.
pub(super) fn change(
    message: &[u8],
    other: &[u8],
    words: &[&str],
    longest: usize,
    chance: &mut Chance,
) -> Option<Vec<u8>> {
    let mut fields = parse(message, DEPTH)?;
    let other = parse(other, DEPTH).unwrap_or_default();
    for _ in 0..=chance.roll(3) {
        change_somewhere(&mut fields, &other, words, longest, chance);
    }
    let mut changed = Vec::new();
    encode(&fields, &mut changed);
    (changed.len() <= longest).then_some(changed)
}

/// The message again and again, each time with another of its fields, however deep,
/// as a list of entries of nothing: what takes the most memory for what came.
pub(super) fn drawn_out(message: &[u8]) -> Vec<Vec<u8>> {
    let fields = parse(message, DEPTH).unwrap_or_default();
    let (mut paths, mut all) = (Vec::new(), Vec::new());
    paths_of(&fields, &mut Vec::new(), &mut paths);
    let mut known = HashSet::new();
    for path in paths {
        let mut fields = fields.clone();
        // Of the entries of one list, one is enough.
        if known.insert(draw_out(&mut fields, &path)) {
            let mut message = Vec::new();
            encode(&fields, &mut message);
            all.push(message);
        }
    }
    all
}

/// Where all fields are, by their indices from outside inwards.
fn paths_of(fields: &[Field], at: &mut Vec<usize>, paths: &mut Vec<Vec<usize>>) {
    for (index, field) in fields.iter().enumerate() {
        at.push(index);
        paths.push(at.clone());
        if let Value::Message(inner) = &field.value {
            paths_of(inner, at, paths);
        }
        at.pop();
    }
}

/// Draws the field there out, and returns the numbers that lead to it.
fn draw_out(fields: &mut Vec<Field>, path: &[usize]) -> Vec<u64> {
    let [first, rest @ ..] = path else { return Vec::new() };
    let number = fields[*first].number;
    let mut numbers = vec![number];
    match &mut fields[*first].value {
        Value::Message(inner) if !rest.is_empty() => numbers.extend(draw_out(inner, rest)),
        _ => {
            let empty = Field { number, value: Value::default() };
            fields.splice(*first..=*first, std::iter::repeat_n(empty, GROWN));
        }
    }
    numbers
}

fn change_somewhere(
    fields: &mut Vec<Field>,
    other: &[Field],
    words: &[&str],
    longest: usize,
    chance: &mut Chance,
) {
    let at = chance.roll(fields.len());
    if let Some(Field { value: Value::Message(inner), .. }) = fields.get_mut(at)
        && !chance.once_in(3)
    {
        return change_somewhere(inner, other, words, longest, chance);
    }
    if fields.is_empty() || chance.once_in(8) {
        if let Some(field) = some_field(other, chance) {
            fields.insert(at, field);
        }
        return;
    }
    match chance.roll(9) {
        0 => drop(fields.remove(at)),
        1 => {
            let mut copy = fields[at].clone();
            if chance.once_in(4) {
                // The entries that weigh least on the wire.
                copy.value = Value::default();
            }
            let times = if chance.once_in(6) { chance.roll(longest / 8) } else { 1 };
            let room = longest / size(&copy).max(1);
            fields.splice(at..at, std::iter::repeat_n(copy, times.min(room)));
        }
        2 => {
            let with = chance.roll(fields.len());
            fields.swap(at, with);
        }
        3 => {
            if let Some(field) = some_field(other, chance) {
                fields[at].value = field.value;
            }
        }
        4 => fields[at].number = 1 + chance.roll(20) as u64,
        5 => {
            for _ in 0..chance.roll(NESTED) {
                let inner = std::mem::take(&mut fields[at].value);
                let number = fields[at].number;
                fields[at].value = Value::Message(vec![Field { number, value: inner }]);
            }
        }
        6 => fields[at].value = Value::default(),
        7 => fields[at].value = Value::Varint(chance.number()),
        _ => change_value(&mut fields[at].value, words, longest, chance),
    }
}

fn change_value(value: &mut Value, words: &[&str], longest: usize, chance: &mut Chance) {
    match value {
        Value::Varint(number) => *number = chance.number(),
        Value::Fixed(all) => bytes::change(all, &[], &[], all.len(), chance),
        Value::Bytes(all) => {
            if chance.once_in(4) {
                *all = chance.pick(words).copied().unwrap_or_default().into();
            } else {
                bytes::change(all, &[], words, longest, chance);
            }
        }
        Value::Message(inner) => inner.reverse(),
    }
}

/// A copy of some field, however deep.
fn some_field(fields: &[Field], chance: &mut Chance) -> Option<Field> {
    let field = chance.pick(fields)?;
    match &field.value {
        Value::Message(inner) if !inner.is_empty() && chance.once_in(2) => {
            some_field(inner, chance)
        }
        _ => Some(field.clone()),
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

/// About how many bytes a field takes.
fn size(field: &Field) -> usize {
    2 + match &field.value {
        Value::Varint(_) => 1,
        Value::Fixed(bytes) | Value::Bytes(bytes) => bytes.len(),
        Value::Message(fields) => fields.iter().map(size).sum(),
    }
}

/// The fields of a message; nothing when not all of the bytes are one.
fn parse(mut rest: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while rest.has_remaining() {
        let key = decode_varint(&mut rest).ok()?;
        let number = key >> 3;
        if !(1..=HIGHEST).contains(&number) {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Varint(decode_varint(&mut rest).ok()?),
            1 => Value::Fixed(take(&mut rest, 8)?.to_vec()),
            5 => Value::Fixed(take(&mut rest, 4)?.to_vec()),
            2 => {
                let length = decode_varint(&mut rest).ok()?;
                let bytes = take(&mut rest, usize::try_from(length).ok()?)?;
                let is_text = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
                let inner = (depth > 0 && !is_text).then(|| parse(bytes, depth - 1)).flatten();
                inner.map_or_else(|| Value::Bytes(bytes.to_vec()), Value::Message)
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn encode(fields: &[Field], out: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let kind = match value {
            Value::Varint(_) => 0,
            Value::Fixed(bytes) => {
                if bytes.len() == 8 {
                    1
                } else {
                    5
                }
            }
            Value::Bytes(_) | Value::Message(_) => 2,
        };
        encode_varint((number << 3) | kind, out);
        match value {
            Value::Varint(number) => encode_varint(*number, out),
            Value::Fixed(bytes) => out.extend_from_slice(bytes),
            Value::Bytes(bytes) => {
                encode_varint(bytes.len() as u64, out);
                out.extend_from_slice(bytes);
            }
            Value::Message(inner) => {
                let mut bytes = Vec::new();
                encode(inner, &mut bytes);
                encode_varint(bytes.len() as u64, out);
                out.append(&mut bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_proto::replication::{NodeStatus, ReportStatusRequest};
    use prost::Message;

    use super::*;

    fn message() -> Vec<u8> {
        let node = NodeStatus { name: "lyon".to_owned(), generation: 300, ..Default::default() };
        ReportStatusRequest { nodes: vec![node.clone(), node] }.encode_to_vec()
    }

    #[test]
    fn what_is_read_is_written_again() {
        let fields = parse(&message(), DEPTH).expect("a message");
        assert!(matches!(&fields[1].value, Value::Message(inner) if inner.len() == 2));
        let mut written = Vec::new();
        encode(&fields, &mut written);
        assert_eq!(written, message());
        assert_eq!(parse(b"<html>", DEPTH), None);
    }

    #[test]
    fn every_list_is_drawn_out_once() {
        let all = drawn_out(&message());
        let read: Vec<_> =
            all.iter().filter_map(|one| ReportStatusRequest::decode(&one[..]).ok()).collect();
        let nodes: Vec<usize> = read.iter().map(|one| one.nodes.len()).collect();
        // The list of nodes, and in its first one the name; its generation is no list.
        assert_eq!((all.len(), nodes), (3, vec![GROWN + 1, 2]));
        assert_eq!(read[1].nodes[0].name, "");
    }

    #[test]
    fn most_changes_still_are_messages_and_differ() {
        let mut chance = Chance::seeded(1);
        let mut readable = 0;
        for _ in 0..1000 {
            let changed = change(&message(), &message(), &["nice"], 4096, &mut chance);
            let Some(changed) = changed else { continue };
            assert!(changed.len() <= 4096);
            let read = ReportStatusRequest::decode(&changed[..]);
            readable += usize::from(read.is_ok_and(|read| read.encode_to_vec() != message()));
        }
        assert!(readable > 300, "{readable}");
    }
}
