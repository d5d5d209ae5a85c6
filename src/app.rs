//! The parts, put together.
