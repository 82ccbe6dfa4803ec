//! Whether an access token still stands under the policy in force, which may have become stricter since it was issued.
use super::Policy;
use crate::{
    clock::Timestamp,
    issuer::Foreign,
    model::{Approval, Client, Level, User, network::Shown},
    token::{Opened, revocation::SESSION},
};
use std::{net::IpAddr, sync::Arc};

/// The app and the user that a token stands on.
pub struct Standing<'a> {
    /// The app, not blocked.
    pub client: &'a Arc<Client>,
    /// The user, active, where the configuration knows them: not somebody whom an identity provider brought.
    pub user: Option<&'a Arc<User>>,
}

impl Policy {
    /// What a token of ours that was opened as `opened` stands on, or `None` where it opens nothing any more: its app or its user is gone or switched off,
    /// the user has none of the profiles any more that the app is for, it was not as sure who sat there as the app asks
    /// for now, it is bound to nothing and the app's tokens have to be, or the app's session timeout is over.
    pub fn standing(&self, opened: &Opened, now: Timestamp) -> Option<Standing<'_>> {
        if opened.foreign().is_some() {
            return None;
        }
        let client = self.clients.get(&*opened.entitlement.client).filter(|c| !c.blocked)?;
        let user = self.users.get(&*opened.subject);
        if user.is_some_and(|user| !user.active) || self.is_barred(&opened.subject) {
            return None;
        }
        // What a program does in its own name needs no user, no profile and no person's proof; also where another
        // exchanged it.
        let runs_as = |client: &Client| client.run_as.as_deref() == Some(&*opened.subject);
        let from = || opened.special.as_ref().and_then(|s| s.more.exchanged_from.as_deref());
        let machine = opened.auth_time().is_none()
            && (runs_as(client) || from().and_then(|app| self.clients.get(app)).is_some_and(|app| runs_as(app)));
        let stands = match user {
            _ if machine => true,
            Some(user) => match &client.approval {
                Approval::Admin(allowed) => !user.permissions.is_disjoint(allowed),
                Approval::SelfAuthorized => true,
            },
            // Whoever is not in the configuration stands on the IdP that brought them. A name that another issuer's people
            // carry is nobody's of ours, wherever it came from.
            None => {
                let brought = opened.entitlement.brought_by.as_deref().is_some_and(|idp| self.saml.brings(idp));
                brought && !self.issuers.owns(&opened.subject)
            }
        };
        let over = client.policies.session_timeout.is_some_and(|longest| opened.issued.plus(longest) <= now);
        let wanted = client.interactive.level;
        let sure = machine || wanted == Level::Standard || opened.shown().level >= wanted;
        let bound = || {
            // A browser's session at the gate is no token that anybody could carry away and bind.
            let session = opened.authorization.as_deref().is_some_and(|id| id.starts_with(SESSION));
            session || client.binds(opened.special.as_ref().and_then(|special| special.more.cnf.as_ref()))
        };
        let unbound = (client.dpop_bound || client.certificate_bound) && !bound();
        (stands && sure && !over && !unbound).then_some(Standing { client, user })
    }

    /// Whether the token of another issuer that was opened as `opened` opens `resource` still: its issuer is trusted by
    /// the same rules, one of its audiences is meant for it, and nobody blocked whom it names. It stands on its issuer
    /// alone: there is no app and no user of ours behind it, and so nothing of theirs to ask for.
    pub fn stands_elsewhere(&self, opened: &Opened, foreign: &Foreign, resource: &str) -> bool {
        self.issuers.holds(&foreign.issuer)
            && foreign.issuer.rules.opens(&opened.entitlement.audience, resource)
            && !self.has_ended(&opened.subject)
    }

    /// Whether a request for `client`, and for `user` where they are known, is let through from `address`.
    pub fn admits(&self, client: &Client, user: Option<&User>, address: Option<IpAddr>, shown: Shown) -> bool {
        let network = &client.policies.network;
        if network.ranges.is_none() && self.profiles.is_empty() {
            return true;
        }
        let profiles = user.into_iter().flat_map(|u| &u.permissions).filter_map(|name| self.profiles.get(name));
        network.admits(profiles, address, shown)
    }
}
