//! The objects of the token: their names, attributes, generation and destruction.

pub(super) mod adaptation;
pub(super) mod counter;
pub(super) mod creation;
pub(super) mod destroy;
pub(super) mod generate;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod name;
pub(super) mod query;
pub(super) mod template;
