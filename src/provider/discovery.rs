//! Authorization server metadata (RFC 8414).
use super::paths;
use crate::{
    grant,
    model::{Level, user::SCOPE_CLAIMS},
    policy::{Policy, route::resource_metadata_path},
    token::proof::ALGORITHMS,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The document for the policy in force.
pub fn metadata(policy: &Policy) -> Value {
    let issuer = &policy.issuer;
    let mut methods = vec!["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let certificates = &policy.client_certificates;
    if !certificates.is_empty() {
        methods.extend(["tls_client_auth", "self_signed_tls_client_auth"]);
    }
    let with_none = [&methods[..], &["none"]].concat();
    let algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
    // The SAML assertion flow is there where an app is named for it.
    let served = |grant: &&str| *grant != "assertion" || policy.saml.assertion_app.is_some();
    let grants: Vec<&str> = grant::all().iter().map(|g| g.grant_type()).filter(served).collect();
    let scopes: BTreeSet<&str> =
        policy.clients.values().flat_map(|c| c.scopes.iter().filter(|s| !c.salesforce.implied.contains(s))).collect();
    let of_tokens = ["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "sid"];
    let claims: Vec<&str> =
        of_tokens.into_iter().chain(SCOPE_CLAIMS.iter().flat_map(|(_, names)| names.iter().copied())).collect();
    let mut told = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}{}", paths::TOKEN),
        "revocation_endpoint": format!("{issuer}{}", paths::REVOKE),
        "introspection_endpoint": format!("{issuer}{}", paths::INTROSPECT),
        "jwks_uri": format!("{issuer}{}", paths::JWKS),
        "scopes_supported": scopes,
        "authorization_endpoint": format!("{issuer}{}", paths::AUTHORIZE),
        "pushed_authorization_request_endpoint": format!("{issuer}{}", paths::PAR),
        "device_authorization_endpoint": format!("{issuer}{}", paths::DEVICE_AUTHORIZATION),
        "userinfo_endpoint": format!("{issuer}{}", paths::USERINFO),
        "end_session_endpoint": format!("{issuer}{}", paths::LOGOUT),
        "response_types_supported": ["code", "token", "id_token token"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        "acr_values_supported": [Level::Standard.acr(), Level::HighAssurance.acr()],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": claims,
        "claims_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "grant_types_supported": grants,
        "token_endpoint_auth_methods_supported": with_none,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": with_none,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "dpop_signing_alg_values_supported": ALGORITHMS,
    });
    if !certificates.is_empty() {
        told["tls_client_certificate_bound_access_tokens"] = true.into();
    }
    if let Some(origin) = certificates.endpoints() {
        // RFC 8705 §5.
        let alias = |path: &str| format!("{origin}{path}");
        told["mtls_endpoint_aliases"] = json!({
            "token_endpoint": alias(paths::TOKEN),
            "revocation_endpoint": alias(paths::REVOKE),
            "introspection_endpoint": alias(paths::INTROSPECT),
            "pushed_authorization_request_endpoint": alias(paths::PAR),
            "device_authorization_endpoint": alias(paths::DEVICE_AUTHORIZATION),
            "userinfo_endpoint": alias(paths::USERINFO),
        });
    }
    if policy.registration.is_some() {
        told["registration_endpoint"] = format!("{issuer}{}", paths::REGISTER).into();
    }
    told
}

/// The metadata of the protected resource whose document has this path (RFC 9728 §2).
pub fn resource(policy: &Policy, path: &str) -> Option<Value> {
    let here = |r: &str| resource_metadata_path(r).as_deref() == Some(path);
    let routes: Vec<_> = policy.routes.iter().filter(|r| here(&r.resource)).collect();
    let resource = routes.first()?.resource.clone();
    let routes: Vec<_> = routes.into_iter().filter(|r| r.resource == resource).collect();
    let bound = routes.iter().all(|r| r.requirement.proof);
    let own = routes.iter().any(|r| r.issuers.as_ref().is_none_or(|accepted| accepted.own));
    let others: BTreeSet<&str> =
        routes.iter().filter_map(|r| r.issuers.as_ref()).flat_map(|a| a.issuers.iter().map(|i| &*i.url)).collect();
    let servers: Vec<&str> = own.then_some(&*policy.issuer).into_iter().chain(others).collect();
    let requirements =
        routes.iter().flat_map(|r| std::iter::once(&r.requirement).chain(r.per_method.iter().map(|(_, q)| q)));
    let scopes: BTreeSet<&str> = requirements.flat_map(|q| q.all.iter().chain(q.any.iter())).collect();
    let certificates = !policy.client_certificates.is_empty();
    let mut told = json!({
        "resource": resource,
        "authorization_servers": servers,
        "jwks_uri": format!("{}{}", policy.issuer, paths::JWKS),
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ALGORITHMS,
        // A token that is bound to a certificate will do, where there are any.
        "dpop_bound_access_tokens_required": bound && !certificates,
    });
    if certificates {
        told["tls_client_certificate_bound_access_tokens"] = true.into();
    }
    Some(told)
}
