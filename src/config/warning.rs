//! What is lawful, but hardly meant.
use crate::{
    issuer::Issuer,
    model::{AuthMethod, Client},
    pages::contrast::{DARK, LEAST, LIGHT, contrast},
    policy::{Policy, route::Auth},
};
use std::sync::Arc;

/// Everything of the kind, in order; `admin` is the audience of the admin API, where it is on. What `dev` itself brings
/// along is not warned of.
pub fn all(policy: &Policy, admin: Option<&str>, dev: bool) -> Vec<String> {
    let opens = |audience: &str| admin == Some(audience) || policy.routes.iter().any(|r| *r.resource == *audience);
    let clients = policy.clients.values();
    let mut all: Vec<String> = clients
        .filter(|c| !opens(&c.audience))
        .map(|c| format!("app {}: no route has the resource {}, so its tokens open none", c.id, c.audience))
        .collect();
    let rules = &policy.client_certificates.rules;
    for client in policy.clients.values() {
        let shows = match client.auth_method {
            AuthMethod::TlsClientAuth => rules.iter().any(|rule| rule.authorities.is_some()),
            AuthMethod::SelfSignedTlsClientAuth => !rules.is_empty(),
            AuthMethod::ClientSecret | AuthMethod::PrivateKeyJwt | AuthMethod::None => {
                !client.certificate_bound || !rules.is_empty()
            }
        };
        if !shows {
            all.push(format!("app {}: no [[client_certificate]] asks for the certificate that it needs", client.id));
        }
    }
    let administers = |c: &Arc<Client>| admin == Some(&*c.audience) && c.scopes.contains(crate::admin::api::SCOPE);
    if let Some(audience) = admin.filter(|_| !policy.clients.values().any(administers)) {
        let scope = crate::admin::api::SCOPE;
        all.push(format!("admin_api: no app has the audience {audience} and the scope {scope}, so nobody gets in"));
    }
    let named = |issuer: &Issuer| {
        policy.routes.iter().filter_map(|r| r.issuers.as_ref()).any(|accepted| accepted.holds(issuer))
    };
    let unused = policy.issuers.iter().filter(|issuer| !named(issuer));
    all.extend(unused.map(|issuer| format!("trusted_issuer {}: no route accepts its tokens", issuer.name)));
    let told = policy.routes.iter().filter(|r| r.terms.as_ref().is_some_and(|terms| terms.client_cert));
    for route in told.filter(|_| !rules.iter().any(|rule| rule.authorities.is_some())) {
        all.push(format!(
            "route {}: client_cert tells nothing, as no [[client_certificate]] names ca_files",
            route.name
        ));
    }
    let people = &policy.people.sign_in;
    for route in policy.routes.iter().filter(|r| r.auth != Auth::Token) {
        let signs_in = people.values().filter_map(|app| policy.clients.get(app.as_str()));
        if !signs_in.into_iter().any(|app| app.audience == route.resource) {
            all.push(format!(
                "route {}: no [[sign_in]] names an app with the audience {}, so no browser gets in",
                route.name, route.resource
            ));
        }
    }
    for partner in policy.saml.partners.values().filter(|p| !p.create_users) {
        let set = [
            ("attributes", !partner.attributes.is_empty()),
            ("groups", partner.groups.is_some()),
            ("permissions", !partner.permissions.is_empty()),
        ];
        for (key, _) in set.into_iter().filter(|(_, set)| *set) {
            let name = &partner.name;
            all.push(format!(
                "saml_idp {name}: {key} does nothing without create_users: who is in users.toml is as that says"
            ));
        }
    }
    // One origin to the browser: no policy of ours keeps such a script out.
    let ours = policy.issuer.strip_prefix("https://").map(str::to_ascii_lowercase);
    if !dev && ours.is_some_and(|authority| people.contains_key(&authority)) {
        all.push(format!(
            "sign_in {}: a script of a web app on the issuer's own origin can press the buttons of our pages; give it a host of its own",
            policy.issuer
        ));
    }
    let brand = &policy.people.brand;
    for (key, colour, behind) in [("colour", &brand.colour, LIGHT), ("colour_dark", &brand.colour_dark, DARK)] {
        let ratio = contrast(colour, behind);
        if ratio < LEAST {
            all.push(format!(
                "brand: {key} {colour} has a contrast of {ratio:.1} to {behind}, and words need {LEAST} (WCAG 2.2 §1.4.3)"
            ));
        }
    }
    all.sort();
    all
}
