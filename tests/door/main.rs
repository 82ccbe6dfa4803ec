//! Behaviour through the door: the provider's requests, the gate's sockets, the program as a process.
#![allow(clippy::unwrap_used)] // a test ends where its ground gives way
mod administration;
mod allocations;
mod architecture;
mod attacks;
mod browser;
mod claims;
mod clients;
#[allow(dead_code)] // other tests use the rest of it
mod cluster;
mod command_line;
mod dpop;
mod gate;
mod holder;
mod nodes;
mod monitoring;
mod npm;
mod people;
mod policies;
mod process;
mod provider;
mod readme;
mod salesforce;
mod saml_attacks;
mod saml_config;
mod saml_grants;
mod saml_idps;
mod saml_level;
mod saml_logout;
mod saml_messages;
mod saml_profile;
mod saml_sign_on;
mod saml_verify;
mod token_exchange;
mod wire;
