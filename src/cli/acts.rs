//! `portcullis acts`
use super::desk::{self, when};
use std::path::Path;

/// Prints what administrators did, the newest first: at most `most` lines.
pub fn run(config: &Path, most: usize, json: bool) -> Result<(), String> {
    let acts = desk::at(config, async |o| o.acts("", most).await)?.items;
    desk::print(&acts, json, |a| {
        let parts = [&a.act.client_id, &a.act.username, &a.act.detail];
        let about: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        format!("{} {} by {} ({}): {}", when(Some(a.time)), a.act.act, a.by, a.through, about.join("; "))
    })
}
