//! Compiles the `.proto` files without a protoc installed.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "document/v1/document",
        "document/v1/assessment",
        "replication/v1/replication",
        "identity/v1/identity",
        "admin/v1/admin",
        "admin/v1/subscriptions",
    ]
    .map(|name| format!("proto/patchmesh/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // For the gRPC reflection service.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
