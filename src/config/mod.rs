//! Strict TOML configuration.
