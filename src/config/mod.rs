//! Configuration: read once, validated once, every mistake told.
pub mod app;
pub mod mistake;
