//! The STS API: temporary credentials through the API.

mod assume_role;
mod configured_providers;
mod federation;
