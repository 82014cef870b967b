//! How `.proto` files are written here.

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

use crate::schema::{Found, files, types};

// Field numbers of the descriptor messages; see `schema`.
const FILE_SERVICE: i32 = 6;
const SERVICE_METHOD: i32 = 2;
const MESSAGE_FIELD: i32 = 2;

#[test]
fn the_proto_files_are_well_kept() {
    let mut faults = Vec::new();
    let files = files();
    assert!(!files.is_empty());
    for file in &files {
        check_file(file, &mut faults);
        check_services(file, &mut faults);
        let (messages, enums) = types(file);
        for message in &messages {
            check_message(file, message, &mut faults);
        }
        for one in &enums {
            check_enum(file, one, &mut faults);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn check_file(file: &FileDescriptorProto, faults: &mut Vec<String>) {
    let folder = file.name().rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.replace('/', ".") != file.package() {
        faults.push(format!("{}: package {} is not its folder", file.name(), file.package()));
    }
    let version = file.package().rsplit_once(".v").map_or("", |(_, version)| version);
    if version.parse::<u32>().is_err() {
        faults.push(format!("{}: package {} ends in no version", file.name(), file.package()));
    }
    if file.syntax() != "proto3" {
        faults.push(format!("{}: syntax is not proto3", file.name()));
    }
}

fn check_services(file: &FileDescriptorProto, faults: &mut Vec<String>) {
    for (index, service) in (0..).zip(&file.service) {
        let path = [FILE_SERVICE, index];
        if !is_documented(file, &path) {
            faults.push(format!("{}: service {} has no comment", file.name(), service.name()));
        }
        for (number, method) in (0..).zip(&service.method) {
            let path = [&path[..], &[SERVICE_METHOD, number]].concat();
            if !is_documented(file, &path) {
                faults.push(format!("{}: rpc {} has no comment", file.name(), method.name()));
            }
            let input = method.input_type().rsplit('.').next().unwrap_or_default();
            if input != format!("{}Request", method.name()) {
                faults.push(format!("{}: rpc {} takes {input}", file.name(), method.name()));
            }
        }
    }
}

fn check_message(
    file: &FileDescriptorProto,
    message: &Found<'_, DescriptorProto>,
    faults: &mut Vec<String>,
) {
    let name = message.item.name();
    // A map's entry is the compiler's own; its field has the comment.
    if message.item.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    if !is_pascal_case(name) {
        faults.push(format!("{}: message {name} is not in PascalCase", file.name()));
    }
    // Requests and responses are explained by their methods.
    let belongs_to_method = name.ends_with("Request") || name.ends_with("Response");
    if !belongs_to_method && !is_documented(file, &message.path) {
        faults.push(format!("{}: message {name} has no comment", file.name()));
    }
    for (index, field) in (0..).zip(&message.item.field) {
        if !is_snake_case(field.name()) {
            faults.push(format!("{}: {name}.{} is not in snake_case", file.name(), field.name()));
        }
        let path = [&message.path[..], &[MESSAGE_FIELD, index]].concat();
        // Bytes say nothing about what they are, a flag nothing about when.
        let is_opaque = matches!(field.r#type(), Type::Bytes | Type::Bool);
        if is_opaque && !is_documented(file, &path) {
            faults.push(format!("{}: {name}.{} has no comment", file.name(), field.name()));
        }
    }
}

fn check_enum(
    file: &FileDescriptorProto,
    found: &Found<'_, EnumDescriptorProto>,
    faults: &mut Vec<String>,
) {
    let name = found.item.name();
    if !is_documented(file, &found.path) {
        faults.push(format!("{}: enum {name} has no comment", file.name()));
    }
    let prefix = format!("{}_", screaming(name));
    for value in &found.item.value {
        if !value.name().starts_with(&prefix) {
            faults.push(format!("{}: {} does not begin with {prefix}", file.name(), value.name()));
        }
    }
    let zero = found.item.value.iter().find(|value| value.number() == 0);
    if zero.is_none_or(|value| value.name() != format!("{prefix}UNSPECIFIED")) {
        faults.push(format!("{}: the zero of {name} is not {prefix}UNSPECIFIED", file.name()));
    }
}

fn is_documented(file: &FileDescriptorProto, path: &[i32]) -> bool {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations.filter(|location| location.path == path).any(|location| {
        let above = location.leading_comments();
        let behind = location.trailing_comments();
        // Rules such as `---- nodes ----` divide a file and explain nothing.
        [above, behind].iter().any(|text| {
            let text = text.trim();
            !text.is_empty() && !text.starts_with("----")
        })
    })
}

fn is_pascal_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `InstallMode` → `INSTALL_MODE`.
fn screaming(name: &str) -> String {
    let mut words = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            words.push('_');
        }
        words.push(c.to_ascii_uppercase());
    }
    words
}
