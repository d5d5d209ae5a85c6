//! The wires: bytes to requests, outcomes to bytes.
