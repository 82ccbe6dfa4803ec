//! `approval` of an app: who may use it.
use crate::model::Approval;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Who may use the app.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ApprovalRule {
    /// Every user for themselves.
    SelfAuthorized(SelfWord),
    /// Users with one of these profiles or permission sets.
    Admin { admin: BTreeSet<String> },
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelfWord {
    /// `"self"`.
    #[serde(rename = "self")]
    SelfAuthorized,
}

impl From<ApprovalRule> for Approval {
    fn from(rule: ApprovalRule) -> Self {
        match rule {
            ApprovalRule::SelfAuthorized(SelfWord::SelfAuthorized) => Self::SelfAuthorized,
            ApprovalRule::Admin { admin } => Self::Admin(admin),
        }
    }
}
