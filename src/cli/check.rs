//! `portcullis check`
use crate::clock::Clock;
use std::path::Path;

/// Fails with every mistake, or says what stands.
pub fn check(config: &Path) -> Result<(), String> {
    let loaded = super::loaded(config)?;
    let expiring = loaded.policy.saml.expiring(super::CLOCK.now());
    loaded.warnings.iter().chain(&expiring).for_each(|warning| eprintln!("warning: {warning}"));
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
