//! What RPM packages say of each other, as rpm reads it: [`version`] compares
//! versions.

pub mod version;
