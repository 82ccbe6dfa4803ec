//! What an administrator sees and does while it runs.
mod command_line;
