//! The resource of a simulated request.

use crate::cli::exit::CliError;
use crate::model::{PrincipalKind, PrincipalName, RegionAccount, RoleArn};

/// The resource: region, account and name.
pub(super) struct SimulatedResource<'a> {
    pub(super) region_account: RegionAccount,
    pub(super) name: &'a str,
    /// The role, if it is one.
    pub(super) role: Option<PrincipalName>,
}

impl<'a> SimulatedResource<'a> {
    /// From an ARN or a name in this region and account.
    pub(super) fn parse(text: &'a str, here: &RegionAccount) -> anyhow::Result<Self> {
        if let Some(rest) = text.strip_prefix("acs:kms:") {
            return Self::of_kms(rest).ok_or_else(|| {
                CliError::usage(format!("{text}: not acs:kms:<region>:<account>:<name>")).into()
            });
        }
        if text.starts_with("acs:") {
            let arn: RoleArn = text.parse().map_err(|_invalid| {
                CliError::usage(format!("{text}: not acs:ram::<account>:role/<name>"))
            })?;
            let region_account = RegionAccount { account: arn.account, ..here.clone() };
            return Ok(Self { region_account, name: text, role: Some(arn.role) });
        }
        let role =
            text.parse().ok().filter(|name: &PrincipalName| name.kind() == PrincipalKind::Role);
        Ok(Self { region_account: here.clone(), name: text, role })
    }

    fn of_kms(rest: &'a str) -> Option<Self> {
        let mut parts = rest.splitn(3, ':');
        let region_account = RegionAccount {
            region: parts.next()?.parse().ok()?,
            account: parts.next()?.parse().ok()?,
        };
        Some(Self { region_account, name: parts.next()?, role: None })
    }
}
