//! The one way in, for both wires.
