//! What a reload changed, in words; secrets are masked.
use super::{Policy, route::Route, saml::Partner};
use crate::{issuer::Issuer, model::Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One line for each thing added, removed or changed.
pub fn changes(old: &Policy, new: &Policy) -> Vec<String> {
    let (before, after) = (outline(old), outline(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().flat_map(|name| compare(name, before.get(name), after.get(name))).collect()
}

fn compare(name: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    match (before, after) {
        (None, Some(_)) => vec![format!("{name} added")],
        (Some(_), None) => vec![format!("{name} removed")],
        (Some(Value::Object(before)), Some(Value::Object(after))) => after
            .iter()
            .filter(|(key, value)| before.get(*key) != Some(value))
            .map(|(key, value)| format!("{name}: {key} {} -> {value}", before.get(key).unwrap_or(&Value::Null)))
            .collect(),
        _ => Vec::new(),
    }
}

fn outline(policy: &Policy) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::from([("issuer".to_owned(), json!({"url": policy.issuer}))]);
    let dpop = policy.dpop;
    let view = json!({"lifetime": dpop.lifetime, "nonce": dpop.nonce, "nonce_lifetime": dpop.nonce_lifetime});
    all.insert("dpop".to_owned(), view);
    let people = &policy.people;
    let look = crate::secret::Digest::of(format!("{:?}", people.brand).as_bytes());
    let view = json!({"session": format!("{:?}", people.session), "login": format!("{:?}", people.limits),
        "brand": mask(&look.hex()), "scope": people.scopes, "sign_in": people.sign_in});
    all.insert("people".to_owned(), view);
    all.extend(policy.client_certificates.rules.iter().map(|rule| {
        let name = format!("client_certificate {} {:?}", rule.hosts.join(" "), rule.listen);
        let view = json!({"ask": format!("{:?}", rule.ask), "self_signed": rule.self_signed,
            "endpoints": rule.endpoints, "digest": mask(&rule.digest.hex())});
        (name, view)
    }));
    if let Some(s) = &policy.salesforce {
        let view = json!({"organization": s.organization, "instance_url": s.instance_url,
            "audiences": s.audiences, "soap_app": s.soap_app});
        all.insert("salesforce".to_owned(), view);
    }
    if let Some(r) = &policy.registration {
        let view = json!({"open": r.open, "grants": r.grants, "scopes": r.scopes.to_string(), "most": r.most,
            "redirect_uris": r.redirect_uris, "auth_methods": r.auth_methods, "per_address": r.per_address,
            "app": r.app.to_string()});
        all.insert("registration".to_owned(), view);
    }
    all.extend(policy.clients.values().map(|c| (format!("app {}", c.id), client(c))));
    all.extend(policy.users.values().map(|u| {
        let password = u.password.as_ref().map(|hash| mask(&crate::secret::Digest::of(hash.as_bytes()).hex()));
        let view = json!({"permissions": u.permissions, "active": u.active, "password": password,
            "security_token": u.security_token.map(|d| mask(&d.hex()))});
        (format!("user {}", u.username), view)
    }));
    let profiles = policy.profiles.iter();
    all.extend(profiles.map(|(name, ranges)| (format!("profile {name}"), json!({"ip_ranges": format!("{ranges:?}")}))));
    all.extend(policy.saml.partners.values().map(|p| (format!("saml_idp {}", p.name), partner(p))));
    all.extend(policy.issuers.iter().map(|i| (format!("trusted_issuer {}", i.name), issuer(i))));
    all.extend(policy.routes.iter().map(|r| (format!("route {}", r.name), route(r))));
    all
}

fn client(client: &Client) -> Value {
    json!({
        "name": client.name, "blocked": client.blocked, "auth": format!("{:?}", client.auth_method),
        "secrets": client.secrets.iter().map(|d| mask(&d.hex())).collect::<Vec<_>>(),
        "keys": client.keys.iter().map(|k| &k.fingerprint).collect::<Vec<_>>(),
        "grants": client.grants, "scopes": client.scopes.to_string(), "approval": format!("{:?}", client.approval),
        "run_as": client.run_as, "token_format": format!("{:?}", client.token_format),
        "token_signing_alg": format!("{:?}", client.signing_algorithm), "token_lifetime": client.token_lifetime, "audience": client.audience,
        "assertion_lifetime": client.assertion_lifetime, "salesforce": format!("{:?}", client.salesforce),
        "interactive": format!("{:?}", client.interactive), "policies": format!("{:?}", client.policies),
        "exchange": format!("{:?}", client.exchange), "dpop_bound_access_tokens": client.dpop_bound,
        "certificate_bound_access_tokens": client.certificate_bound,
        "tls_client_auth": format!("{:?}", client.certificate_name),
    })
}

fn partner(partner: &Partner) -> Value {
    json!({
        "entity": partner.idp.entity, "keys": partner.idp.keys.fingerprints(), "title": partner.title,
        "valid_until": partner.idp.valid_until, "grants": partner.grants, "idp_initiated": partner.idp_initiated,
        "domains": partner.domains, "username": partner.username, "name_format": partner.name_format,
        "create_users": partner.create_users, "existing_users": partner.existing_users,
        "logout_ends_tokens": partner.logout_ends_tokens,
        "high_assurance_contexts": partner.high_assurance_contexts, "attributes": partner.attributes, "groups": partner.groups, "permissions": partner.permissions,
        "sign_on": format!("{:?}", partner.idp.sign_on), "logout": format!("{:?}", partner.idp.logout),
    })
}

fn issuer(issuer: &Issuer) -> Value {
    json!({
        "url": issuer.url, "place": format!("{:?}", issuer.place), "rules": format!("{:?}", issuer.rules),
        "timing": format!("{:?}", issuer.timing), "needed": issuer.needed, "private": issuer.reach.private,
        "authorities": issuer.reach.authorities.as_ref().map(|a| a.digest.hex()[..16].to_owned()),
    })
}

fn route(route: &Route) -> Value {
    json!({
        "issuers": route.issuers.as_ref().map(|a| {
            let names: Vec<&str> = a.own.then_some("self").into_iter().chain(a.issuers.iter().map(|i| &*i.name)).collect();
            names.join(" ")
        }),
        "host": route.host, "path": format!("{:?}", route.path), "methods": route.methods,
        "requirement": format!("{:?}", route.requirement), "per_method": format!("{:?}", route.per_method),
        "resource": route.resource, "upstream": route.upstream.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), "tls_name": route.upstream.tls_name,
        "authorities": route.upstream.authorities.as_ref().map(|a| a.digest.hex()[..16].to_owned()),
        "timeouts": format!("{:?}", (route.upstream.connect_timeout, route.upstream.read_timeout)),
        "auth": format!("{:?}", route.auth), "token": format!("{:?}", route.relay), "errors": format!("{:?}", route.errors),
        "headers": format!("{:?}", route.headers), "terms": format!("{:?}", route.terms),
        "protocol": format!("{:?}", (route.upstream.protocol, route.upstream.retries)),
        "balance": route.upstream.balance.as_ref().map(|b| format!("{:?} {} {:?}", b.rule, b.identity, b.most_in_flight)),
    })
}

/// Enough of a digest to see that it changed.
fn mask(hex: &str) -> String {
    format!("{}…", &hex[..6])
}
