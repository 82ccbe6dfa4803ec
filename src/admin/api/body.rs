//! What requests carry, and small answers.
use super::{super::registration::Initial, Bytes, Request, answer::Problem, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why an app or a user is blocked.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlockBody {
    /// One line for whoever comes after, at most 500 characters.
    pub reason: Option<String>,
}

/// For what an app is approved.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalBody {
    /// These scopes; all that the app may have without.
    pub scopes: Option<Vec<String>>,
}

/// What an initial access token is good for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InitialBody {
    /// Registrations that it lets through; 1 without.
    pub uses: u32,
    /// Seconds until it expires; a day without.
    pub lifetime: i64,
    /// For what: one line of at most 200 characters.
    pub note: Option<String>,
}

impl Default for InitialBody {
    fn default() -> Self {
        Self { uses: 1, lifetime: 86_400, note: None }
    }
}

/// Initial access tokens.
#[derive(Serialize, JsonSchema)]
pub struct Initials {
    /// All of them.
    pub items: Vec<Initial>,
}

/// How many authorizations ended.
#[derive(Serialize, JsonSchema)]
pub struct Ended {
    /// So many.
    pub ended: usize,
}

/// The body; an empty one says nothing.
pub fn read<T: DeserializeOwned + Default>(request: &Request<Bytes>) -> Result<T, Problem> {
    if request.body().is_empty() {
        return Ok(T::default());
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(415, "Content-Type must be application/json"));
    }
    serde_json::from_slice(request.body()).map_err(|e| Problem::new(400, format!("the body: {e}")))
}
