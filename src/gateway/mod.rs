//! The gate: what must be decided before a request may go to an upstream.
pub mod admin;
pub mod canonical;
pub mod connection;
pub mod credential;
pub mod ctx;
pub mod denial;
pub mod framing;
pub mod guard;
pub mod http2;
pub mod identity;
pub mod mount;
pub mod pace;
pub mod possession;
pub mod proxy;
pub mod server;
pub mod upstream;
