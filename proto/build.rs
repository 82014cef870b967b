//! Compiles every `.proto` file without a protoc installed.

use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    find(Path::new("proto"), &mut files)?;
    // What is generated must not hang on the order of a folder.
    files.sort();
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // For the gRPC reflection service.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let built = || tonic_prost_build::configure().bytes(".");
    built().compile_fds(descriptors.clone())?;
    // What machines are served, with a codec of its own: only the package of reports is
    // taken from here, and it does not compile without the others.
    let machines = out.join("machines");
    std::fs::create_dir_all(&machines)?;
    built().codec_path("crate::codec::Sparing").out_dir(machines).compile_fds(descriptors)?;
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
