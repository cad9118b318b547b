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
        let built = Command::new(cargo)
            .args(["build", "--locked", "--quiet", "--workspace", "--bins"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .expect("cargo can be started");
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
