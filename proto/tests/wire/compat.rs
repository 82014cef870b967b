//! Nothing published changes: the descriptors against `proto/compat/v1.txt`.
//!
//! The baseline has one line for each field, enum value and method. A line that
//! is gone is a break, unless its number and name are reserved. A line that is
//! new has to be accepted, so that it is protected from then on; the README
//! beside the baseline says how.

use std::collections::BTreeSet;
use std::path::PathBuf;

use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};

use crate::schema::{Found, files, types};

const ACCEPT: &str = "PATCHMESH_PROTO_ACCEPT";

#[test]
fn the_wire_formats_keep_what_was_published() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compat/v1.txt");
    let baseline = std::fs::read_to_string(&path).unwrap_or_default();
    let baseline: BTreeSet<String> = baseline.lines().map(str::to_owned).collect();
    let (present, reserved) = (listing(), reservations());
    let accept = std::env::var(ACCEPT).unwrap_or_default();

    let gone = baseline.difference(&present);
    let broken: Vec<_> = gone.filter(|line| !is_retired(line, &reserved)).cloned().collect();
    assert!(
        broken.is_empty() || accept == "breaks",
        "published parts of the wire formats were changed or removed; put them back, or reserve \
         their numbers and names (see proto/compat/README.md):\n{}",
        broken.join("\n")
    );
    if baseline == present {
        return;
    }
    assert!(
        accept == "additions" || accept == "breaks",
        "the wire formats grew; accept this with {ACCEPT}=additions (see proto/compat/README.md):\n{}",
        present.difference(&baseline).cloned().collect::<Vec<_>>().join("\n")
    );
    let lines: Vec<String> = present.into_iter().collect();
    std::fs::write(&path, lines.join("\n") + "\n").expect("the baseline can be written");
}

/// Every published part, one line each: `TYPE NUMBER NAME …`.
fn listing() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for file in files() {
        let (messages, enums) = types(&file);
        lines.extend(messages.iter().flat_map(fields));
        for one in &enums {
            lines.extend(
                one.item
                    .value
                    .iter()
                    .map(|value| format!("{} {} {}", one.name, value.number(), value.name())),
            );
        }
        for service in &file.service {
            lines.extend(service.method.iter().map(|method| {
                let stream = |is_stream| if is_stream { "stream " } else { "" };
                format!(
                    "{}.{} rpc {} {}{} returns {}{}",
                    file.package(),
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type().trim_start_matches('.'),
                    stream(method.server_streaming()),
                    method.output_type().trim_start_matches('.'),
                )
            }));
        }
    }
    lines
}

fn fields(message: &Found<'_, DescriptorProto>) -> Vec<String> {
    let line = |field: &prost_types::FieldDescriptorProto| {
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
            scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
        let optional = if field.proto3_optional() { "optional " } else { "" };
        let oneof = field
            .oneof_index
            .filter(|_| !field.proto3_optional())
            .and_then(|index| usize::try_from(index).ok())
            .map(|index| format!(" in {}", message.item.oneof_decl[index].name()))
            .unwrap_or_default();
        let (number, name) = (field.number(), field.name());
        format!("{} {number} {name} {repeated}{optional}{kind}{oneof}", message.name)
    };
    message.item.field.iter().map(line).collect()
}

/// `TYPE NUMBER` and `TYPE NAME` of whatever is reserved.
fn reservations() -> BTreeSet<String> {
    let mut reserved = BTreeSet::new();
    for file in files() {
        let (messages, enums) = types(&file);
        for one in &messages {
            // The end of a message's range is exclusive, that of an enum's is not.
            for range in &one.item.reserved_range {
                reserved.extend(
                    (range.start()..range.end()).map(|number| format!("{} {number}", one.name)),
                );
            }
            reserved
                .extend(one.item.reserved_name.iter().map(|name| format!("{} {name}", one.name)));
        }
        for one in &enums {
            for range in &one.item.reserved_range {
                reserved.extend(
                    (range.start()..=range.end()).map(|number| format!("{} {number}", one.name)),
                );
            }
            reserved
                .extend(one.item.reserved_name.iter().map(|name| format!("{} {name}", one.name)));
        }
    }
    reserved
}

fn is_retired(line: &str, reserved: &BTreeSet<String>) -> bool {
    let mut words = line.split(' ');
    let (Some(owner), Some(number), Some(name)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let is_reserved = |what: &str| reserved.contains(&format!("{owner} {what}"));
    is_reserved(number) && is_reserved(name)
}

#[test]
fn only_what_is_reserved_twice_is_retired() {
    let reserved: BTreeSet<String> =
        ["p.M 3", "p.M old", "p.M 4"].iter().map(|text| (*text).to_owned()).collect();
    assert!(is_retired("p.M 3 old string", &reserved));
    assert!(!is_retired("p.M 4 other string", &reserved), "the name could come back");
    assert!(!is_retired("p.M 5 old string", &reserved), "the number could come back");
    assert!(!is_retired("p.S rpc Get p.A returns p.B", &reserved));
}
