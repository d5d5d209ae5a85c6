//! Account and region.

pub mod describe_regions;
