//! The commit of the build, for `hsmgate --version`: `HSMGATE_COMMIT` if it is set, as in the build of
//! packages, so that a build of the sources alone needs no git.

fn main() {
    println!("cargo:rerun-if-env-changed=HSMGATE_COMMIT");
    let commit = std::env::var("HSMGATE_COMMIT").unwrap_or_else(|_not_set| "unknown".to_owned());
    println!("cargo:rustc-env=HSMGATE_COMMIT={commit}");
}
