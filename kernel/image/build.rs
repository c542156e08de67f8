//! Links the bare-metal image with its own script. The target makes position-independent executables by default;
//! the boot code's 32-bit addresses need a fixed one, and the last of `-pie` and `--no-pie` counts.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for every build script");
        println!("cargo:rustc-link-arg-bins=-T{directory}/linker.ld");
        for argument in ["--no-pie", "-zmax-page-size=4096", "--no-eh-frame-hdr"] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
