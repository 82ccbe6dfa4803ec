//! `portcullis run`
use super::first_start;
use crate::saml::second_opinion;
use std::path::Path;

/// Serves until asked to end.
pub fn run(config: &Path, upgrade: bool) -> Result<(), String> {
    let dev = first_start::wanted(config);
    if dev {
        let folder = first_start::folder(config);
        let made = first_start::make(&folder)?;
        if !made.is_empty() {
            eprintln!("made in {}: {}", folder.display(), made.join(", "));
        }
    }
    let loaded = super::loaded(config)?;
    super::warn(&loaded);
    eprintln!("{} on {:?}, admin on {}", loaded.policy.issuer, loaded.settings.listen, loaded.settings.admin);
    if let Some(api) = &loaded.settings.admin_api {
        eprintln!("admin API on {}{}", if api.tls { "https://" } else { "http://" }, api.listen);
    }
    if let Some(told) = second_opinion::absence(second_opinion::BUILT_IN) {
        eprintln!("{told}");
    }
    if dev && loaded.policy.clients.contains_key("orders-robot") {
        eprintln!("{}", tour(&loaded.policy.issuer));
    }
    crate::gateway::server::run(config, loaded, upgrade)
}

/// Lines to paste into another terminal, in the folder of the repository.
fn tour(issuer: &str) -> String {
    let curl = "curl -sS --cacert certs/ca.pem";
    format!(
        r#"
Paste into another terminal, in this folder:

# a token, by JWT bearer (RFC 7523), for reading only
ASSERTION=$(target/release/portcullis token assertion --client orders-robot --subject alice --key certs/orders-robot.key)
TOKEN=$({curl} {issuer}/oauth2/token -d grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer -d scope=orders:read -d assertion="$ASSERTION" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
# a call: 200, and what the API saw
{curl} -H "Authorization: Bearer $TOKEN" {issuer}/orders/7
# a call that needs more scope: 403
{curl} -i -H "Authorization: Bearer $TOKEN" -d item=tea {issuer}/orders/7
# revoke, and the first call again: 401
{curl} {issuer}/oauth2/revoke -d client_id=orders-robot -d token="$TOKEN"
{curl} -i -H "Authorization: Bearer $TOKEN" {issuer}/orders/7
"#
    )
}
