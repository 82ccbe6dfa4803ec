//! Authorization server metadata (RFC 8414).
use super::paths;
use crate::{
    grant,
    policy::{Policy, route::resource_metadata_path},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The document for the policy in force.
pub fn metadata(policy: &Policy) -> Value {
    let issuer = &policy.issuer;
    let methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let with_none = [&methods[..], &["none"]].concat();
    let algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
    let scopes: BTreeSet<&str> = policy.clients.values().flat_map(|c| c.scopes.iter()).collect();
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}{}", paths::TOKEN),
        "revocation_endpoint": format!("{issuer}{}", paths::REVOKE),
        "introspection_endpoint": format!("{issuer}{}", paths::INTROSPECT),
        "jwks_uri": format!("{issuer}{}", paths::JWKS),
        "scopes_supported": scopes,
        "response_types_supported": [],
        "grant_types_supported": grant::all().map(|g| g.grant_type()),
        "token_endpoint_auth_methods_supported": with_none,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": with_none,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
    })
}

/// The metadata of the protected resource whose document has this path (RFC 9728 §2).
pub fn resource(policy: &Policy, path: &str) -> Option<Value> {
    let here = |r: &str| resource_metadata_path(r).as_deref() == Some(path);
    let routes: Vec<_> = policy.routes.iter().filter(|r| here(&r.resource)).collect();
    let resource = routes.first()?.resource.clone();
    let requirements = routes
        .iter()
        .filter(|r| r.resource == resource)
        .flat_map(|r| std::iter::once(&r.requirement).chain(r.per_method.iter().map(|(_, q)| q)));
    let scopes: BTreeSet<&str> = requirements.flat_map(|q| q.all.iter().chain(q.any.iter())).collect();
    Some(json!({
        "resource": resource,
        "authorization_servers": [policy.issuer],
        "jwks_uri": format!("{}{}", policy.issuer, paths::JWKS),
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
    }))
}
