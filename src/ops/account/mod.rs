//! Account and region.

pub mod describe_account_kms_status;
pub mod describe_regions;
pub mod open_kms_service;
