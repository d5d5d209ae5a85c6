//! Keys: states, deletion, rotation, and their objects on the token.

pub(crate) mod clock_jumps;
mod deletion_protection;
mod lifecycle;
mod rotation;
mod specs;
mod states;
mod substitution;
mod token_objects;
