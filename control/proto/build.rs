//! Compiles the contract; needs `protoc`, which `cargo xtask setup` installs.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    tonic_prost_build::configure()
        // A method of ours is named connect, as the generated way to open a connection would be, which is not used. Whether
        // it is made depends on who else generates code in this build.
        .build_transport(false)
        .compile_protos(&["proto/feed.proto"], &["proto"])?;
    Ok(())
}
