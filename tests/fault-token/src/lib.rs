//! SoftHSM2 that fails as it is told: a PKCS#11 module for tests.
//!
//! Built as a shared library, it forwards every call to SoftHSM2, and on the way does what the
//! rules of a control file say: it answers an error code, waits, hangs, damages an output, loses
//! sessions or the login, or kills the process; and it plays the manners of other tokens. Every call is written to a log. Built as a Rust
//! library, it gives tests the types of both files, so that each is written down once.
//!
//! It is no part of the shipped program, and needs `unsafe` as each PKCS#11 module does.

mod attribute_types;
mod control;
mod inner_module;
mod interceptor;
mod log;
mod manners;
mod mechanism_types;
mod module;
mod names;
mod parallel_calls;
mod post_call;
mod prng;
mod return_codes;
mod rule;
mod settings;
mod threads;

use std::path::PathBuf;

pub use control::write_rules;
pub use log::{Entry, HANGING, KILLED, LATE, OVERLAP, read_log};
pub use manners::{AttributeType, CLOUD_HSM, Manner, MechanismType, ReturnCode};
pub use prng::{Prng, mix};
pub use rule::{Fault, Rule, When};
pub use settings::Settings;

// The variables are for a module without a file of settings next to it.

/// The variable with the path of the module that calls are forwarded to.
pub const MODULE_VARIABLE: &str = "FAULT_TOKEN_MODULE";
/// The variable with the manners of the token, separated by commas. Without it the token has none but
/// those of the control file.
pub const MANNERS_VARIABLE: &str = "FAULT_TOKEN_MANNERS";
/// The variable with the path of the control file. Without it, or without the file, there is no rule.
pub const CONTROL_VARIABLE: &str = "FAULT_TOKEN_CONTROL";
/// The variable with the path of the log, which is appended to. Without it there is no log.
pub const LOG_VARIABLE: &str = "FAULT_TOKEN_LOG";

/// The shared library that `cargo test` and `cargo bench` have put beside the running test.
///
/// # Panics
/// When it is not there.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    let library = test.with_file_name("libfault_token.so");
    assert!(library.is_file(), "{} is not built", library.display());
    library
}
