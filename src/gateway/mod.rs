//! The gate: what must be decided before a request may go to an upstream.
pub mod canonical;
pub mod credential;
pub mod denial;
pub mod guard;
pub mod proxy;
