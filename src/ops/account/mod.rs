//! Account and region.

use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    describe_account_kms_status::DescribeAccountKmsStatus,
    open_kms_service::OpenKmsService,
    describe_regions::DescribeRegions,
}
