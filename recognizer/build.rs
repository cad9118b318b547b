//! Records which instructions the C++ parts are compiled for, so that the program can check for them.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CXXFLAGS");
    println!("cargo:rustc-check-cfg=cfg(needs_avx2)");
    println!("cargo:rustc-check-cfg=cfg(needs_fma)");
    let flags = std::env::var("CXXFLAGS").unwrap_or_default();
    for flag in flags.split_whitespace() {
        match flag {
            "-mavx2" => println!("cargo:rustc-cfg=needs_avx2"),
            "-mfma" => println!("cargo:rustc-cfg=needs_fma"),
            _ => {}
        }
    }
}
