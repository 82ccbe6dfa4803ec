//! Portcullis: the identity provider and the gate, in one program at the edge.
//!
//! Where is …?
//! * a flow: [`grant`], one file each; the token endpoint's pipeline: [`provider::token`]
//! * where scopes are checked: [`gateway::guard`]; what happens to a proxied request: [`gateway::proxy`], top to bottom
//! * what a person sees and in which order: [`provider`]'s `authorize` (the checks), `interaction` (the steps), [`pages`]
//! * from a SAML message to what it says: [`saml`], one path; single sign-on: [`provider`]'s `saml`
//! * the shape that Salesforce's connected apps expect: [`salesforce`], a translation and nothing else
//! * whose tokens besides ours may open a route, and with which keys: [`issuer`]; what is fetched from elsewhere: [`outgoing`]
//! * what an administrator sees and does while it runs: [`admin`]; what lies over the configuration: [`policy::in_force`]
//! * passwords, second factors, sessions, guesses: [`login`]
//! * what a file of the configuration may say: [`config`], a file a section; how a change is taken up: [`config::reload`]
//! * what must outlive the process: [`store`]; what ends a token: [`token::revocation`]
//! * traces of requests, sent to a collector: [`telemetry`]
//! * a command of the command line: [`cli`], one file each
//! * what goes on beside the requests: [`upkeep`]
//!
//! To hang it into a Pingora proxy of your own: [`gateway::proxy::Gateway::of`] an [`assembly::Assembly`], whose phases
//! yours call, and its [`upkeep`] beside them: `examples/embed.rs`.
pub mod admin;
pub mod assembly;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod grant;
pub mod issuer;
pub mod log;
pub mod login;
pub mod metrics;
pub mod model;
pub mod outgoing;
pub mod pages;
pub mod policy;
pub mod provider;
pub mod salesforce;
pub mod saml;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod upkeep;
