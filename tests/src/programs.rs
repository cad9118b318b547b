//! The programs under test, built from the tree as it stands.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of one of the workspace's programs. The first call builds them all, so that no test can run
/// against a stale one; it takes a moment when they are fresh.
///
/// # Panics
/// When the build fails.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--locked", "--quiet", "--workspace", "--bins"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        // What cargo tells this test about its package would make build scripts that look at it run anew, and all that
        // depends on them be built anew, here and by the next build from outside.
        for (name, _) in std::env::vars_os() {
            let of_this_package = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"]
                    .iter()
                    .any(|told| name.starts_with(told))
            });
            if of_this_package {
                build.env_remove(name);
            }
        }
        let built = build.status().expect("cargo can be started");
        assert!(built.success(), "the programs cannot be built");
        // target/debug/deps/THIS-TEST: the programs lie one folder up.
        let this = std::env::current_exe().expect("this program has a path");
        let folder = this
            .parent()
            .and_then(|deps| deps.parent())
            .expect("tests run from the build folder");
        folder.to_owned()
    });
    folder.join(name)
}
