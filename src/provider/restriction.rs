//! What an app's policy asks of every request in which somebody acts through it: where it comes from, and how sure it must
//! be who sits there.
use super::{
    Cx,
    error::{Code, OAuthError, Situation},
};
use crate::model::{Client, Level, User, network::Shown};

/// Refuses what comes from an address that `client`'s policy, or that of `user`'s profiles, does not let in.
pub fn address(client: &Client, user: Option<&User>, shown: Shown, cx: &Cx) -> Result<(), OAuthError> {
    if cx.policy.admits(client, user, cx.address, shown) {
        return Ok(());
    }
    let from = cx.address.map_or_else(|| "an unknown address".to_owned(), |a| a.to_string());
    Err(OAuthError::new(Code::InvalidGrant, "ip restricted").detail(from).of(Situation::IpRestricted))
}

/// The same before anything is known of the person: what no user and no second factor would excuse.
pub fn address_of_app(client: &Client, refreshes: bool, cx: &Cx) -> Result<(), OAuthError> {
    address(client, None, Shown { level: Level::HighAssurance, refreshes }, cx)
}

/// Refuses what is less sure than `client`'s policy asks for.
pub fn level(client: &Client, shown: Level) -> Result<(), OAuthError> {
    if shown >= client.interactive.level {
        return Ok(());
    }
    Err(OAuthError::new(Code::InvalidGrant, "authentication failure").detail("a second factor is due"))
}
