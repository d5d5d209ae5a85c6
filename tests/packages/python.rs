//! The Python wheel with its pytest plugin.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::built::Built;
use crate::{code_after, output_of};

/// The SDK and pytest of the tests of the SDKs.
const SDK: &str = "target/sdk/python";

#[test]
fn the_wheel_gives_pytest_a_gateway_and_a_client() {
    let wheel = Built::get().with_suffix(".whl");
    let directory = TempDir::new_in("/dev/shm").unwrap();
    let environment = directory.path().join("environment");
    let python = environment.join("bin/python");
    let sdk = fs::canonicalize(SDK).expect("make setup-sdk");
    let packages = output_of(
        Command::new(sdk.join("bin/python"))
            .args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]),
    );
    output_of(Command::new(sdk.join("bin/python")).args(["-m", "venv"]).arg(&environment));
    output_of(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"])
            .arg(wheel),
    );
    let code = code_after("packaging/python/README.md", "SoftHSM2 is a package");
    let fresh = "\n\ndef test_each_gateway_has_its_own_key(hsmgate, hsmgate_fresh):\n    \
                 assert hsmgate.endpoint != hsmgate_fresh.endpoint\n    \
                 assert hsmgate.key_id != hsmgate_fresh.key_id\n";
    fs::write(directory.path().join("test_orders.py"), code + fresh).unwrap();
    let told = output_of(
        Command::new(&python)
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .current_dir(&directory)
            .env("PYTHONPATH", packages.trim())
            .env("PATH", "/usr/bin:/bin"),
    );
    assert!(told.contains("2 passed"), "{told}");
}
