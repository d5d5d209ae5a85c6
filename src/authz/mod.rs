//! May they, with this key.
