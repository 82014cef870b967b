//! The wire formats of Patchmesh: gRPC services, documents, and the one place
//! where what came over the wire becomes the model of `patchmesh-topology`
//! and is checked.

pub mod codec;
pub mod convert;
pub mod document;
pub mod references;
pub mod set;

/// Generated from `proto/patchmesh/**`; documented there.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod generated {
    /// Package `patchmesh.document`.
    pub mod document {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("patchmesh.document.v1");
        }
    }
    /// Package `patchmesh.replication`.
    pub mod replication {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("patchmesh.replication.v1");
        }
    }
    /// Package `patchmesh.identity`.
    pub mod identity {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("patchmesh.identity.v1");
        }
    }
    /// Package `patchmesh.report`.
    pub mod report {
        /// Version 1.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/machines/patchmesh.report.v1.rs"));
        }
    }
    /// Package `patchmesh.admin`.
    pub mod admin {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("patchmesh.admin.v1");
        }
    }
}

pub use generated::{
    admin::v1 as admin, document::v1 as wire, identity::v1 as identity,
    replication::v1 as replication, report::v1 as report,
};

/// The compiled `.proto` files, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
