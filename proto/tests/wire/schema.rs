//! The compiled `.proto` files, walked once for all checks on them.

use patchmesh_proto::DESCRIPTORS;
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Our own files, without what they import from elsewhere.
pub(crate) fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    set.file.into_iter().filter(|file| file.package().starts_with("patchmesh.")).collect()
}

/// A message with its full name and its path in the source information.
pub(crate) struct Found<'a, T> {
    pub(crate) name: String,
    pub(crate) path: Vec<i32>,
    pub(crate) item: &'a T,
}

// Field numbers of the descriptor messages, as paths in the source
// information are made of them: google/protobuf/descriptor.proto.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;

/// Every message and enum of a file, those inside messages included.
pub(crate) fn types(
    file: &FileDescriptorProto,
) -> (Vec<Found<'_, DescriptorProto>>, Vec<Found<'_, EnumDescriptorProto>>) {
    let mut messages =
        below(file.package(), &[], FILE_MESSAGE, &file.message_type, |one| one.name());
    let mut enums = below(file.package(), &[], FILE_ENUM, &file.enum_type, |one| one.name());
    let mut next = 0;
    while let Some(message) = messages.get(next) {
        let (name, path, item) = (message.name.clone(), message.path.clone(), message.item);
        enums.extend(below(&name, &path, MESSAGE_ENUM, &item.enum_type, |one| one.name()));
        messages.extend(below(&name, &path, MESSAGE_NESTED, &item.nested_type, |one| one.name()));
        next += 1;
    }
    (messages, enums)
}

fn below<'a, T>(
    parent: &str,
    path: &[i32],
    field: i32,
    items: &'a [T],
    name: impl Fn(&T) -> &str,
) -> Vec<Found<'a, T>> {
    let found = |(index, item): (i32, &'a T)| Found {
        name: format!("{parent}.{}", name(item)),
        path: [path, &[field, index]].concat(),
        item,
    };
    (0..).zip(items).map(found).collect()
}
