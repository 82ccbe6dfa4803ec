//! Where the command line administers: on the store itself, whether a gateway runs or not. Whoever can open the data
//! folder needs no token for it; a running gateway takes the act up by the feed, as it does a revocation.
use super::CLOCK;
use crate::{
    admin::{Failed, Office, view::Page},
    clock::{Clock, Timestamp},
    log::Log,
    policy::in_force::InForce,
};
use std::{os::unix::fs::MetadataExt, path::Path};

/// Items of a list that are read at one time.
pub const PAGE: usize = 200;

/// Does `work` at a desk of its own, on the policy in force as the store knows it.
pub fn at<T>(config: &Path, work: impl AsyncFnOnce(&Office) -> Result<T, Failed>) -> Result<T, String> {
    let loaded = super::loaded(config)?;
    let store = super::store(&loaded)?;
    // A file that the gateway has not made yet is left for it to make.
    let file = loaded.settings.audit_log.as_deref().filter(|path| path.exists());
    let audit = file.and_then(|path| Log::file(path).ok()).unwrap_or_else(Log::stderr);
    let in_force = InForce::of(loaded.policy);
    let told = super::block_on(async {
        let now = CLOCK.now();
        in_force.follow(&*store, now).await?;
        let policy = in_force.policy().load_full();
        let (by, through) = (format!("os:{}", who()), "command line");
        work(&Office { policy, store, here: None, audit: audit.clone(), by, through, now }).await
    })?;
    audit.flush();
    told.map_err(|e| e.to_string())
}

/// The user of the operating system who runs this process, by name where there is one.
fn who() -> String {
    let Ok(uid) = std::fs::metadata("/proc/self").map(|m| m.uid().to_string()) else {
        return std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    };
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or(uid)
}

/// Every page of a list, each behind the one before.
pub async fn all<T>(mut page: impl AsyncFnMut(&str) -> Result<Page<T>, Failed>) -> Result<Vec<T>, Failed> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let next = page(&after).await?;
        items.extend(next.items);
        match next.next {
            Some(last) => after = last,
            None => return Ok(items),
        }
    }
}

/// One line an item: JSON for programs, or words.
pub fn print<T: serde::Serialize>(items: &[T], json: bool, words: impl Fn(&T) -> String) -> Result<(), String> {
    for item in items {
        println!("{}", if json { serde_json::to_string(item).map_err(|e| e.to_string())? } else { words(item) });
    }
    Ok(())
}

/// An instant for people, or a dash.
pub fn when(at: Option<Timestamp>) -> String {
    let at = at.and_then(|at| time::OffsetDateTime::from_unix_timestamp(at.0).ok());
    at.map_or_else(|| "-".to_owned(), |t| format!("{}T{:02}:{:02}:{:02}Z", t.date(), t.hour(), t.minute(), t.second()))
}
