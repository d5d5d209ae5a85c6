//! Keys and versions to token objects.
