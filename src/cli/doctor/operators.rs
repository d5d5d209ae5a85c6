//! Checks the duties of operators: whether their accounts exist, and whether two persons are needed where the
//! configuration wants two.

use super::Check;
use crate::cli::operator::is_account;
use crate::config::{Config, Duty};
use crate::model::ApprovalRules;

const NAME: &str = "operators";

/// The accounts with duties. `None` if the configuration assigns none.
pub(super) fn duties(config: &Config) -> Option<Check> {
    let operators = &config.operators;
    if !operators.has_duties() {
        return None;
    }
    let unknown: Vec<&str> =
        operators.names().into_iter().filter(|name| !is_account(name)).collect();
    if !unknown.is_empty() {
        let what = format!("these accounts do not exist: {}", unknown.join(", "));
        return Some(Check::warning(NAME, what, "Create them, or correct [operators]."));
    }
    let both = operators.accounts_with(Duty::Principals, Duty::Approvals);
    if needs_approvals(&config.approvals) && !both.is_empty() {
        let what = format!(
            "these accounts can create a user and release its dangerous calls: {}",
            both.join(", ")
        );
        let remedy = "Give the duties principals and approvals to different accounts.";
        return Some(Check::warning(NAME, what, remedy));
    }
    Some(Check::ok(NAME, "their accounts exist"))
}

fn needs_approvals(rules: &ApprovalRules) -> bool {
    rules.key_deletions || rules.key_policies.is_some() || rules.access_points
}
