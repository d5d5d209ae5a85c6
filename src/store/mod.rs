//! The store: SQL, and the catalogue of keys in memory.
