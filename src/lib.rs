//! Portcullis: the identity provider and the gate, in one program at the edge.
//!
//! Where is …? Flows: [`grant`]. The token endpoint's pipeline: [`provider::token`]. Where scopes
//! are checked: `gateway::guard`. What happens to a proxied request: `gateway`, top to bottom.
pub mod cli;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod grant;
pub mod log;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod provider;
pub mod secret;
pub mod store;
pub mod token;
