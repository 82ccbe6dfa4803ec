//! What an administrator sees and does while it runs.
mod api;
mod command_line;
mod documented;
mod registration;
mod schema;
