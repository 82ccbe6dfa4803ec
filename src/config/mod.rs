//! Configuration: read once, validated once, every mistake told.
pub mod mistake;
