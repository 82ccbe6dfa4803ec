//! Two wire shapes: that of the RFCs, and that of Salesforce's connected apps.
use serde::{Deserialize, Serialize};

/// The shape that a request came in; its answer leaves in the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// RFC 6749 and what goes with it.
    #[default]
    Standard,
    /// `/services/oauth2/…`.
    Salesforce,
}
