//! `portcullis check`
use std::path::Path;

/// Fails with every mistake, or says what stands.
pub fn check(config: &Path) -> Result<(), String> {
    let loaded = super::loaded(config)?;
    super::warn(&loaded);
    let policy = &loaded.policy;
    println!(
        "good: {} routes, {} apps, {} users, revision {}",
        policy.routes.iter().count(),
        policy.clients.len(),
        policy.users.len(),
        policy.revision
    );
    Ok(())
}
