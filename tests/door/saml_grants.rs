//! Assertions exchanged for tokens: RFC 7522 as a grant and as client authentication, and the SAML assertion flow.
use crate::{
    provider::{World, world_with},
    saml_messages::{Idp, OTHER, P256, RSA, Says, Signs},
    saml_profile::idp_metadata,
    saml_verify::pem,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    clock::{Clock, Timestamp},
    model::{AuthMethod, Client, VerificationKey},
    policy::{
        Policy,
        saml::{Partner, Saml},
    },
    saml::{IdentityProvider, TrustedKeys},
};
use std::sync::Arc;

const BEARER: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";

/// A partner whose metadata names the key of `idp`.
pub fn partner(idp: &Idp, grants: bool) -> Partner {
    let metadata = idp_metadata(&[(None, &idp.certificate)], "");
    Partner {
        name: "corp".to_owned(),
        title: "Corp".to_owned(),
        idp: IdentityProvider::read(&metadata, None).unwrap(),
        grants,
        idp_initiated: false,
        domains: ["corp.example".to_owned()].into(),
        username: None,
        name_format: None,
        create_users: false,
        existing_users: true,
        logout_ends_tokens: false,
        high_assurance_contexts: Vec::new(),
        attributes: [("email".to_owned(), "mail".to_owned())].into(),
        groups: Some("groups".to_owned()),
        permissions: [("R&D <all>".to_owned(), ["sales".to_owned()].into())].into(),
    }
}

fn app(policy: &mut Policy, auth_method: AuthMethod) {
    let old = policy.clients["app"].clone();
    let certificate = pem("CERTIFICATE", &P256.certificate);
    let client = Client {
        id: old.id.clone(),
        name: old.name.clone(),
        blocked: false,
        auth_method,
        secrets: old.secrets.clone(),
        keys: vec![VerificationKey::from_pem(certificate.as_bytes()).unwrap()],
        grants: [BEARER.to_owned(), "assertion".to_owned(), "client_credentials".to_owned()].into(),
        scopes: old.scopes.clone(),
        approval: old.approval.clone(),
        run_as: old.run_as.clone(),
        token_format: old.token_format,
        signing_algorithm: old.signing_algorithm,
        token_lifetime: old.token_lifetime,
        audience: old.audience.clone(),
        assertion_lifetime: old.assertion_lifetime,
        interactive: old.interactive.clone(),
        salesforce: Default::default(),
        policies: Default::default(),
        exchange: Default::default(),
        dpop_bound: false,
        certificate_bound: false,
        certificate_name: None,
    };
    policy.clients.insert("app".into(), Arc::new(client));
    policy.saml = Saml::default();
    policy.saml.apps.insert("app".into(), TrustedKeys::of([P256.certificate.as_slice()]).unwrap());
}

/// What an assertion for the token endpoint says.
pub fn says(world: &World, issuer: &str, subject: &str) -> Says {
    Says::for_token(issuer, subject, "https://id.example", world.clock.now())
}

/// The assertion as the `assertion` parameter takes it.
pub fn signed(says: &Says, idp: &Idp) -> String {
    URL_SAFE_NO_PAD.encode(idp.sign(&says.assertion(), &says.assertion_id))
}

async fn exchange(world: &World, fields: &[(&str, &str)]) -> (u16, serde_json::Value) {
    let response = world.post("/oauth2/token", None, fields).await;
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}

async fn bearer(world: &World, assertion: &str, more: &[(&str, &str)]) -> (u16, serde_json::Value) {
    let mut fields = vec![("grant_type", BEARER), ("assertion", assertion)];
    fields.extend_from_slice(more);
    exchange(world, &fields).await
}

#[tokio::test]
async fn s40_s52_an_app_s_own_assertion_is_exchanged_once_for_a_user_who_may() {
    let world = world_with(|policy| app(policy, AuthMethod::ClientSecret)).await;
    let good = says(&world, "app", "alice");
    let assertion = signed(&good, &P256);
    let (status, body) = bearer(&world, &assertion, &[("scope", "read")]).await;
    assert_eq!((status, &body["scope"]), (200, &"read".into()), "{body}");
    assert!(body["refresh_token"].is_null());
    let (status, body) = bearer(&world, &assertion, &[]).await;
    assert_eq!((status, &body["error_description"]), (400, &"the assertion was used before".into()));
    for (why, description, change) in [
        ("another user", "user hasn't approved this consumer", (|s| s.name_id = "bob".to_owned()) as fn(&mut Says)),
        ("nobody", "user hasn't approved this consumer", |s| s.name_id = "mallory".to_owned()),
        ("audience", "audience is invalid", |s| s.audiences = vec!["https://other.example".to_owned()]),
        ("recipient", "audience is invalid", |s| s.recipient = Some("https://id.example/".to_owned())),
        ("no audience", "audience is invalid", |s| s.audiences.clear()),
        ("expired", "the assertion has expired", |s| {
            s.not_on_or_after = Some(s.issued.plus(-31));
            s.confirmation_not_on_or_after = s.not_on_or_after;
        }),
        ("too long", "the assertion's times are not acceptable", |s| {
            s.not_on_or_after = Some(s.issued.plus(4000));
            s.confirmation_not_on_or_after = s.not_on_or_after;
        }),
        ("to come", "the assertion's times are not acceptable", |s| s.not_before = Some(s.issued.plus(60))),
        ("another issuer", "the assertion is invalid", |s| s.issuer = "jwt".to_owned()),
    ] {
        let mut says = says(&world, "app", "alice");
        change(&mut says);
        let (status, body) = bearer(&world, &signed(&says, &P256), &[]).await;
        assert!(status == 400 || status == 401, "{why}: {body}");
        if why != "another issuer" {
            assert_eq!(body["error_description"], description, "{why}");
        }
    }
    // S63: another key, no key, an app without a certificate.
    let (status, body) = bearer(&world, &signed(&says(&world, "app", "alice"), &OTHER), &[]).await;
    assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()), "{body}");
    let unsigned = URL_SAFE_NO_PAD.encode(says(&world, "app", "alice").assertion());
    assert_eq!(bearer(&world, &unsigned, &[]).await.0, 400);
    world.policy.store(Arc::new(Policy {
        issuer: world.policy.load().issuer.clone(),
        clients: world.policy.load().clients.clone(),
        users: world.policy.load().users.clone(),
        ..Policy::default()
    }));
    assert_eq!(bearer(&world, &signed(&says(&world, "app", "alice"), &P256), &[]).await.0, 400);
}

#[tokio::test]
async fn s52_a_used_assertion_stays_used_when_the_process_starts_again() {
    let store: Arc<dyn portcullis::store::Store> = Arc::new(portcullis::store::memory::MemoryStore::default());
    let world = crate::provider::world_over(store.clone(), |policy| app(policy, AuthMethod::ClientSecret)).await;
    let assertion = signed(&says(&world, "app", "alice"), &P256);
    assert_eq!(bearer(&world, &assertion, &[]).await.0, 200);
    let world = world.restarted(store).await;
    assert_eq!(bearer(&world, &assertion, &[]).await.1["error_description"], "the assertion was used before");
}

#[tokio::test]
async fn a_trusted_idp_s_assertion_needs_an_app_that_says_who_it_is() {
    let trust = |grants| {
        move |policy: &mut Policy| {
            app(policy, AuthMethod::ClientSecret);
            policy.saml.partners.insert("https://idp.example".to_owned(), Arc::new(partner(&RSA, grants)));
        }
    };
    let world = world_with(trust(true)).await;
    let assertion = |world: &World| signed(&says(world, "https://idp.example", "alice"), &RSA);
    let credentials = [("client_id", "app"), ("client_secret", crate::provider::SECRET)];
    let first = assertion(&world);
    assert_eq!(bearer(&world, &first, &[]).await.0, 400, "no app is named");
    assert_eq!(bearer(&world, &first, &credentials[..1]).await.0, 401, "a confidential app has to prove it");
    assert_eq!(bearer(&world, &first, &credentials).await.0, 200);
    assert_eq!(bearer(&world, &first, &credentials).await.0, 400, "once");
    let (status, _) = bearer(&world, &signed(&says(&world, "https://idp.example", "alice"), &P256), &credentials).await;
    assert_eq!(status, 400, "the app's own key does not speak for the IdP");
    let (status, _) = bearer(&world, &signed(&says(&world, "app", "alice"), &RSA), &credentials).await;
    assert_eq!(status, 400, "nor the IdP's for the app");
    let world = world_with(trust(false)).await;
    assert_eq!(bearer(&world, &assertion(&world), &credentials).await.0, 400, "grants = false");
}

#[tokio::test]
async fn an_idp_speaks_for_users_of_the_configuration_only_where_it_may_and_for_whom_it_brought() {
    use portcullis::{login::directory::Person, store::Changes};
    let trust = |existing| {
        move |policy: &mut Policy| {
            app(policy, AuthMethod::ClientSecret);
            let mut corp = partner(&RSA, true);
            (corp.existing_users, corp.create_users) = (existing, true);
            policy.saml.partners.insert("https://idp.example".to_owned(), Arc::new(corp));
            policy.saml.assertion_app = Some("app".into());
        }
    };
    for existing in [false, true] {
        let world = world_with(trust(existing)).await;
        for (name, idp) in [("carol", "https://idp.example"), ("dave", "https://two.example")] {
            let permissions = ["sales".to_owned()].into();
            let person = Person { idp: idp.to_owned(), permissions, profile: Default::default() };
            let directory = portcullis::login::directory::Directory::default();
            let brought = Changes(vec![directory.write(name, &person, true)]);
            world.store.commit(brought, world.clock.now()).await.unwrap();
        }
        for (name, expected) in [("alice", if existing { 200 } else { 400 }), ("carol", 200), ("dave", 400)] {
            let says = says(&world, "https://idp.example", name);
            let credentials = [("client_id", "app"), ("client_secret", crate::provider::SECRET)];
            let (status, body) = bearer(&world, &signed(&says, &RSA), &credentials).await;
            assert_eq!(status, expected, "bearer, {name}, {existing}: {body}");
            let says = Says { assertion_id: portcullis::saml::request::new_id(), ..says };
            let response = URL_SAFE_NO_PAD.encode(says.signed(&RSA, Signs::Both));
            let kind = ("assertion_type", "urn:oasis:names:tc:SAML:2.0:profiles:SSO:browser");
            let (status, body) = exchange(&world, &[("grant_type", "assertion"), kind, ("assertion", &response)]).await;
            assert_eq!(status, expected, "assertion, {name}, {existing}: {body}");
        }
    }
}

#[tokio::test]
async fn an_app_proves_itself_by_a_saml_assertion_with_itself_as_subject() {
    let world = world_with(|policy| app(policy, AuthMethod::PrivateKeyJwt)).await;
    let ask = async |assertion: &str| {
        let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer");
        exchange(&world, &[("grant_type", "client_credentials"), kind, ("client_assertion", assertion)]).await
    };
    let assertion = signed(&says(&world, "app", "app"), &P256);
    let (status, body) = ask(&assertion).await;
    assert_eq!(status, 200, "{body}");
    assert_ne!(ask(&assertion).await.0, 200, "once");
    assert_eq!(ask(&signed(&says(&world, "app", "alice"), &P256)).await.0, 401);
    assert_eq!(ask(&signed(&says(&world, "app", "app"), &RSA)).await.0, 401);
    assert_eq!(ask("PHg+").await.0, 401);
}

#[tokio::test]
async fn the_assertion_flow_is_off_until_an_app_is_named_for_it() {
    let on = |app_name: Option<&'static str>, grants: bool| {
        move |policy: &mut Policy| {
            app(policy, AuthMethod::ClientSecret);
            policy.saml.partners.insert("https://idp.example".to_owned(), Arc::new(partner(&RSA, grants)));
            policy.saml.assertion_app = app_name.map(Into::into);
        }
    };
    let ask = async |world: &World, response: &str| {
        let kind = ("assertion_type", "urn:oasis:names:tc:SAML:2.0:profiles:SSO:browser");
        exchange(world, &[("grant_type", "assertion"), kind, ("assertion", response)]).await
    };
    let response = |world: &World, change: fn(&mut Says)| {
        let mut says = says(world, "https://idp.example", "alice");
        change(&mut says);
        URL_SAFE_NO_PAD.encode(says.signed(&RSA, Signs::Both))
    };
    let world = world_with(on(None, true)).await;
    let (_, body) = ask(&world, &response(&world, |_| {})).await;
    assert_eq!(body["error"], "unsupported_grant_type");
    let world = world_with(on(Some("app"), false)).await;
    assert_eq!(ask(&world, &response(&world, |_| {})).await.1["error"], "invalid_grant", "grants = false");
    let world = world_with(on(Some("app"), true)).await;
    let first = response(&world, |_| {});
    let (status, body) = ask(&world, &first).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["refresh_token"].is_null());
    assert_eq!(ask(&world, &first).await.0, 400, "once");
    for change in [
        (|s| s.name_id = "bob".to_owned()) as fn(&mut Says),
        |s| s.recipient = Some("https://id.example/oauth2/saml/acs".to_owned()),
        |s| s.in_response_to = Some("_somebody_elses".to_owned()),
        |s| s.status = "urn:oasis:names:tc:SAML:2.0:status:Requester".to_owned(),
    ] {
        assert_eq!(ask(&world, &response(&world, change)).await.0, 400);
    }
    assert_eq!(world.clock.now(), Timestamp(1_000_000));
}

#[tokio::test]
async fn s40_s52_on_the_salesforce_paths_both_flows_answer_in_its_form_and_take_its_token_url() {
    use portcullis::policy::salesforce::Salesforce;
    let world = world_with(|policy| {
        app(policy, AuthMethod::ClientSecret);
        policy.saml.partners.insert("https://idp.example".to_owned(), Arc::new(partner(&RSA, true)));
        policy.saml.assertion_app = Some("app".into());
        policy.salesforce = Some(Arc::new(Salesforce {
            organization: "00D000000000062".into(),
            instance_url: "https://acme.my.example".into(),
            audiences: vec!["https://login.salesforce.com".to_owned()],
            soap_app: None,
        }));
    })
    .await;
    let second = "/services/oauth2/token";
    let ask = async |path: &str, fields: &[(&str, &str)]| {
        let response = world.post(path, None, fields).await;
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body)
    };
    let kind = ("assertion_type", "urn:oasis:names:tc:SAML:2.0:profiles:SSO:browser");
    let to =
        |says: Says, url: &str| Says { recipient: Some(url.to_owned()), destination: Some(url.to_owned()), ..says };
    let idp = || says(&world, "https://idp.example", "alice");
    for url in [
        "https://id.example/oauth2/token",
        "https://id.example/services/oauth2/token",
        "https://acme.my.example/services/oauth2/token",
    ] {
        let response = to(idp(), url).signed(&RSA, Signs::Both);
        let whole = URL_SAFE_NO_PAD.encode(&response);
        // As programs written for Salesforce send it: plain base64, or the assertion alone.
        let (plain, alone) = (
            base64::engine::general_purpose::STANDARD.encode(to(idp(), url).signed(&RSA, Signs::Assertion)),
            signed(&to(idp(), url), &RSA),
        );
        for message in [whole, plain, alone] {
            let fields = [("grant_type", "assertion"), kind, ("assertion", &*message)];
            let (status, body) = ask(second, &fields).await;
            assert_eq!(status, 200, "{url}: {body}");
            assert_eq!(body["instance_url"], "https://acme.my.example");
            assert!(body["id"].as_str().unwrap().starts_with("https://acme.my.example/id/00D000000000062"), "{body}");
            assert!(body["access_token"].as_str().unwrap().starts_with("00D000000000062!"), "{body}");
            assert!(body["refresh_token"].is_null() && body["expires_in"].is_null(), "{body}");
            let (status, body) = ask(second, &fields).await;
            assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()), "once: {body}");
        }
        let own = signed(&to(says(&world, "app", "alice"), url), &P256);
        let (status, body) = ask(second, &[("grant_type", BEARER), ("assertion", &own)]).await;
        assert_eq!((status, &body["instance_url"]), (200, &"https://acme.my.example".into()), "{body}");
        assert!(body["refresh_token"].is_null());
    }
    // Its token URLs are its own: the standard path does not know them.
    let other = to(idp(), "https://acme.my.example/services/oauth2/token").signed(&RSA, Signs::Both);
    let fields = [("grant_type", "assertion"), kind, ("assertion", &*URL_SAFE_NO_PAD.encode(other))];
    let (status, body) = ask("/oauth2/token", &fields).await;
    assert_eq!((status, &body["error_description"]), (400, &"audience is invalid".into()), "{body}");
    let bob = Says { name_id: "bob".to_owned(), ..idp() }.signed(&RSA, Signs::Both);
    let fields = [("grant_type", "assertion"), kind, ("assertion", &*URL_SAFE_NO_PAD.encode(bob))];
    let (status, body) = ask(second, &fields).await;
    assert_eq!((status, &body["error"]), (400, &"invalid_app_access".into()), "{body}");
}
