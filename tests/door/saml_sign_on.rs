//! Single sign-on through the provider's door: a browser, an app that asks, and an IdP of ours in between.
use crate::{
    people::{Browser, ISSUER, Shown, people, redeem, request},
    provider::{World, world_with},
    saml_grants::partner,
    saml_messages::{OTHER, P256, RSA, Says, Signs},
};
use portcullis::{
    clock::Clock,
    policy::{Policy, saml::Partner},
    saml::{ServiceProvider, binding, metadata::Binding, request::new_id, sign::SigningKey},
};
use std::sync::Arc;

const ACS: &str = "https://id.example/oauth2/saml/acs";
pub const LOGOUT: &str = "https://id.example/oauth2/saml/logout";
/// The format of the names that `Says` says.
pub const ISSUED_FORMAT: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";

pub fn saml(policy: &mut Policy, change: impl FnOnce(&mut Partner)) {
    people(policy);
    policy.saml.sp = Some(Arc::new(ServiceProvider {
        entity: ISSUER.to_owned(),
        acs: ACS.to_owned(),
        logout: LOGOUT.to_owned(),
        key: SigningKey::from_pkcs8(&P256.pkcs8).unwrap(),
        certificate: P256.certificate.clone(),
    }));
    let mut partner = partner(&RSA, false);
    change(&mut partner);
    policy.saml.partners.insert(partner.idp.entity.clone(), Arc::new(partner));
}

pub async fn world() -> World {
    world_with(|policy| saml(policy, |_| {})).await
}

/// The hidden field of a page's form.
pub fn field(page: &Shown, name: &str) -> String {
    let at = page.body.find(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {}", page.body));
    let value = page.body[at..].split("value=\"").nth(1).unwrap().split('"').next().unwrap();
    value.replace("&#x2f;", "/").replace("&#x3d;", "=").replace("&amp;", "&")
}

/// The way of the login page that leads to the IdP.
pub fn way(page: &Shown) -> String {
    let at = page.body.find("/oauth2/saml/start").or(page.body.find("&#x2f;oauth2&#x2f;saml&#x2f;start"));
    let href = page.body[at.unwrap_or_else(|| panic!("{}", page.body))..].split('"').next().unwrap();
    href.replace("&#x2f;", "/").replace("&amp;", "&")
}

/// Begins at an app and stops at the IdP: the request's identifier and the RelayState.
pub async fn begin(browser: &mut Browser<'_>, target: &str) -> (String, String) {
    let page = browser.visit(target).await;
    let page = browser.get(&way(&page)).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("form-action 'self' https:"));
    let message = binding::from_field(&field(&page, "SAMLRequest")).unwrap();
    let text = String::from_utf8(message).unwrap();
    assert!(text.contains("<ds:SignatureValue>") && text.contains("Destination=\"https://idp.example/sso\""), "{text}");
    let id = text.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (id, field(&page, "RelayState"))
}

/// What the IdP says of alice in answer to `request`.
pub fn says(world: &World, request: Option<&str>) -> Says {
    let now = world.clock.now();
    Says {
        in_response_to: request.map(str::to_owned),
        recipient: Some(ACS.to_owned()),
        destination: Some(ACS.to_owned()),
        session_not_on_or_after: Some(now.plus(3600)),
        ..Says::for_token("https://idp.example", "alice", ISSUER, now)
    }
}

/// The IdP's form: it comes from another site, and so without our cookies.
pub async fn post(world: &World, message: &str, relay: Option<&str>) -> Shown {
    let response = binding::to_field(message);
    let mut fields = vec![("SAMLResponse", response.as_str())];
    fields.extend(relay.map(|r| ("RelayState", r)));
    Browser::new(world).post("/oauth2/saml/acs", &fields).await
}

#[tokio::test]
async fn s50_s52_s54_from_an_app_to_the_idp_and_back_with_a_code() {
    let world = world().await;
    let mut browser = Browser::new(&world);
    let (id, relay) = begin(&mut browser, &request("admin", &[])).await;
    let message = says(&world, Some(&id)).signed(&RSA, Signs::Assertion);
    let answered = post(&world, &message, Some(&relay)).await;
    assert!(answered.to.starts_with("/oauth2/saml/finish?t="), "{}", answered.body);
    // Another browser gets nowhere with it (S54).
    let mut other = Browser::new(&world);
    other.visit(&request("admin", &[])).await;
    assert_eq!(other.get(&answered.to).await.status, 400);
    let to = answered.to.clone();
    let end = browser.follow(answered).await;
    assert!(end.to.starts_with("https://app.example/cb?code="), "{} {}", end.to, end.body);
    let code = crate::people::answer(&end)["code"].clone();
    assert_eq!(redeem(&world, "admin", &code, &[]).await.0, 200);
    // Neither the ticket nor the Response goes twice (S52), also not in a request that is still open.
    assert_eq!(browser.get(&to).await.status, 400);
    assert_eq!(post(&world, &message, Some(&relay)).await.status, 400);
    let (_, second) = begin(&mut browser, &request("admin", &[("prompt", "login")])).await;
    assert_eq!(post(&world, &message, Some(&second)).await.status, 400);
    // The session here ends with the one there.
    let signed_in = async |b: &mut Browser<'_>| {
        !b.get(&request("admin", &[("prompt", "none")])).await.to.contains("login_required")
    };
    world.clock.advance(3300);
    let again = browser.get(&request("admin", &[("prompt", "none"), ("scope", "openid read")])).await;
    let body = redeem(&world, "admin", &crate::people::answer(&again)["code"], &[]).await.1;
    assert_eq!(body["expires_in"], 300, "and so does what lives by it {body}");
    world.clock.advance(299);
    assert!(signed_in(&mut browser).await);
    world.clock.advance(1);
    assert!(!signed_in(&mut browser).await, "SessionNotOnOrAfter");
}

#[tokio::test]
async fn s40_s53_s54_s63_what_the_profile_refuses_signs_nobody_in() {
    let world = world().await;
    let mut browser = Browser::new(&world);
    let (id, relay) = begin(&mut browser, &request("web", &[])).await;
    let good = says(&world, Some(&id));
    let changes: [fn(&mut Says); 7] = [
        |s| s.in_response_to = Some("_another".to_owned()),
        |s| s.in_response_to = None,
        |s| s.recipient = Some("https://id.example/oauth2/token".to_owned()),
        |s| s.audiences = vec!["https://other.example".to_owned()],
        |s| s.confirmation_not_on_or_after = Some(s.issued.plus(-31)),
        |s| s.issuer = "https://nobody.example".to_owned(),
        |s| s.status = "urn:oasis:names:tc:SAML:2.0:status:Responder".to_owned(),
    ];
    for change in changes {
        let mut says = good.clone();
        change(&mut says);
        let refused = post(&world, &says.signed(&RSA, Signs::Both), Some(&relay)).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains("Single sign-on did not work"), "{}", refused.body);
    }
    assert_eq!(post(&world, &good.signed(&OTHER, Signs::Both), Some(&relay)).await.status, 400, "a foreign key");
    assert_eq!(post(&world, &good.signed(&RSA, Signs::Both), None).await.status, 400, "nobody asked");
    assert_eq!(post(&world, &good.signed(&RSA, Signs::Both), Some("made-up")).await.status, 400, "not our RelayState");
    assert_eq!(post(&world, "junk", Some(&relay)).await.status, 400);
    // Somebody whom nobody here knows.
    let unknown = Says { name_id: "mallory".to_owned(), ..good.clone() };
    let answered = post(&world, &unknown.signed(&RSA, Signs::Both), Some(&relay)).await;
    assert_eq!(browser.follow(answered).await.status, 400);
    assert!(!browser.cookies.contains_key("__Host-portcullis"));
    // All of it left the request open for the right answer.
    let answered = post(&world, &good.signed(&RSA, Signs::Both), Some(&relay)).await;
    assert!(browser.follow(answered).await.body.contains("value=\"allow\""));
}

#[tokio::test]
async fn s54_an_idp_begins_by_itself_only_where_it_may_and_leads_to_no_place_of_its_own() {
    let refusing = world().await;
    let message = |world: &World| says(world, None).signed(&RSA, Signs::Both);
    assert_eq!(post(&refusing, &message(&refusing), Some("https://evil.example/")).await.status, 400);
    let world = world_with(|policy| saml(policy, |p| p.idp_initiated = true)).await;
    let message = message(&world);
    let answered = post(&world, &message, Some("https://evil.example/")).await;
    let mut browser = Browser::new(&world);
    let end = browser.get(&answered.to).await;
    assert_eq!(end.to, "/oauth2/account");
    assert_eq!(browser.get("/oauth2/account").await.status, 200);
    let again = post(&world, &message, None).await;
    assert_eq!(Browser::new(&world).get(&again.to).await.status, 400, "S52");
}

#[tokio::test]
async fn s52_a_response_stays_used_when_the_process_starts_again() {
    let store: Arc<dyn portcullis::store::Store> = Arc::new(portcullis::store::memory::MemoryStore::default());
    let begun = |policy: &mut Policy| saml(policy, |p| p.idp_initiated = true);
    let world = crate::provider::world_over(store.clone(), begun).await;
    let message = says(&world, None).signed(&RSA, Signs::Both);
    let answered = post(&world, &message, None).await;
    assert_eq!(Browser::new(&world).get(&answered.to).await.to, "/oauth2/account");
    let world = world.restarted(store).await;
    let answered = post(&world, &message, None).await;
    assert_eq!(Browser::new(&world).get(&answered.to).await.status, 400);
}

#[tokio::test]
async fn a_domain_s_people_are_led_to_their_idp_and_a_fresh_sign_in_is_asked_for() {
    let world = world().await;
    let mut browser = Browser::new(&world);
    let page = browser.visit(&request("web", &[])).await;
    let led = browser.submit(&page, &[("username", "Alice@CORP.example"), ("password", "anything")]).await;
    assert!(led.to.starts_with("/oauth2/saml/start?idp=corp&i="), "{}", led.to);
    let hinted = browser.get(&request("web", &[("login_hint", "alice@corp.example")])).await;
    let hinted = browser.get(&hinted.to).await;
    assert!(hinted.to.starts_with("/oauth2/saml/start?idp=corp&i="), "{}", hinted.to);
    // prompt=login: the IdP is told, and an answer out of its memory is refused.
    let page = browser.visit(&request("admin", &[("prompt", "login")])).await;
    let page = browser.get(&way(&page)).await;
    let text = String::from_utf8(binding::from_field(&field(&page, "SAMLRequest")).unwrap()).unwrap();
    assert!(text.contains("ForceAuthn=\"true\""));
    let id = text.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let relay = field(&page, "RelayState");
    world.clock.advance(100);
    let mut says = says(&world, Some(id));
    says.issued = world.clock.now().plus(-300);
    assert_eq!(post(&world, &says.signed(&RSA, Signs::Both), Some(&relay)).await.status, 400);
    says.issued = world.clock.now();
    says.assertion_id = new_id();
    let answered = post(&world, &says.signed(&RSA, Signs::Both), Some(&relay)).await;
    assert!(browser.follow(answered).await.to.starts_with("https://app.example/cb?code="));
}

#[tokio::test]
async fn people_whom_nobody_knew_become_users_as_their_groups_and_attributes_say() {
    let store: Arc<dyn portcullis::store::Store> = Arc::new(portcullis::store::memory::MemoryStore::default());
    let begun = |policy: &mut Policy| saml(policy, |p| p.create_users = true);
    let world = crate::provider::world_over(store.clone(), begun).await;
    let carol = async |world: &World, groups: &[&str]| {
        let mut browser = Browser::new(world);
        let target = request("admin", &[("scope", "openid email offline_access")]);
        let (id, relay) = begin(&mut browser, &target).await;
        let mut says = says(world, Some(&id));
        says.name_id = "carol".to_owned();
        says.attributes = vec![
            ("mail".to_owned(), vec!["carol@corp.example".to_owned()]),
            ("groups".to_owned(), groups.iter().map(|g| (*g).to_owned()).collect()),
        ];
        let answered = post(world, &says.signed(&RSA, Signs::Both), Some(&relay)).await;
        browser.follow(answered).await
    };
    // Their group is none that the app admits.
    assert!(carol(&world, &["everybody"]).await.to.contains("error=access_denied"));
    let end = carol(&world, &["everybody", "R&D <all>"]).await;
    let code = crate::people::answer(&end)["code"].clone();
    let (status, body) = redeem(&world, "admin", &code, &[]).await;
    assert_eq!(status, 200, "{body}");
    let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let told = async |world: &World| {
        let mut browser = Browser::new(world);
        browser.headers.push(("authorization", bearer.clone()));
        browser.get("/oauth2/userinfo").await
    };
    assert!(told(&world).await.body.contains("carol@corp.example"), "{}", told(&world).await.body);
    // They are there when the process starts again, and gone when their IdP may bring nobody any more.
    let world = world.restarted(store).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let (status, body) = crate::people::refresh(&world, "admin", refresh).await;
    assert_eq!(status, 200, "{body}");
    world.reload(|policy| saml(policy, |_| {}));
    let refresh = body["refresh_token"].as_str().unwrap();
    assert_eq!(crate::people::refresh(&world, "admin", refresh).await.0, 400);
    assert_ne!(told(&world).await.status, 200);
}

#[tokio::test]
async fn no_idp_takes_a_name_that_another_one_brought_or_that_the_configuration_holds() {
    let two = |policy: &mut Policy| {
        saml(policy, |p| {
            p.create_users = true;
            p.idp_initiated = true;
        });
        let mut other = partner(&OTHER, false);
        other.idp.entity = "https://two.example".to_owned();
        (other.name, other.create_users, other.idp_initiated) = ("two".to_owned(), true, true);
        policy.saml.partners.insert("https://two.example".to_owned(), Arc::new(other));
    };
    let world = world_with(two).await;
    let come = async |idp: &crate::saml_messages::Idp, issuer: &str, name: &str| {
        let mut says = says(&world, None);
        (says.issuer, says.name_id) = (issuer.to_owned(), name.to_owned());
        let answered = post(&world, &says.signed(idp, Signs::Both), None).await;
        if answered.to.is_empty() { answered } else { Browser::new(&world).get(&answered.to).await }
    };
    assert_eq!(come(&RSA, "https://idp.example", "dave").await.to, "/oauth2/account");
    assert_eq!(come(&OTHER, "https://two.example", "dave").await.status, 400);
    assert_eq!(come(&OTHER, "https://two.example", "erin").await.to, "/oauth2/account");
    for odd in ["", "a b", "\u{e9}rin", &"x".repeat(201)] {
        assert_eq!(come(&RSA, "https://idp.example", odd).await.status, 400, "{odd:?}");
    }
    // Bob is as users.toml says, whatever his groups are there.
    assert_eq!(come(&RSA, "https://idp.example", "bob").await.to, "/oauth2/account");
    assert!(world.store.scan("person/bob", world.clock.now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_idp_signs_in_users_of_the_configuration_only_where_it_may() {
    for (may, create) in [(false, true), (false, false), (true, true), (true, false)] {
        let world = world_with(|policy| {
            saml(policy, |p| (p.existing_users, p.create_users, p.idp_initiated) = (may, create, true));
        })
        .await;
        let answered = post(&world, &says(&world, None).signed(&RSA, Signs::Both), None).await;
        let mut browser = Browser::new(&world);
        let end = browser.get(&answered.to).await;
        let signed_in = browser.cookies.contains_key("__Host-portcullis");
        assert_eq!((end.status, signed_in), if may { (303, true) } else { (400, false) }, "{may} {create}");
        assert!(
            world.store.scan("person/", world.clock.now()).await.unwrap().is_empty(),
            "alice is as users.toml says"
        );
    }
}

#[tokio::test]
async fn by_redirect_the_query_is_signed_and_our_metadata_says_who_we_are() {
    let world = world_with(|policy| {
        saml(policy, |p| p.idp.sign_on[0].binding = Binding::Redirect);
        policy.saml.sign_metadata = true;
    })
    .await;
    let mut browser = Browser::new(&world);
    let page = browser.visit(&request("web", &[])).await;
    let led = browser.get(&way(&page)).await;
    let query = led.to.strip_prefix("https://idp.example/sso?").unwrap_or_else(|| panic!("{}", led.to));
    let (signed, signature) = query.split_once("&Signature=").unwrap();
    let signature = percent_encoding::percent_decode_str(signature).decode_utf8().unwrap();
    let signature = binding::from_field(&signature).unwrap();
    let algorithm = SigningKey::from_pkcs8(&P256.pkcs8).unwrap().algorithm();
    P256.trusted().verify_detached(algorithm, signed.as_bytes(), &signature).unwrap();
    assert!(signed.contains("&RelayState=") && signed.len() < 2000);
    let metadata = browser.get("/oauth2/saml/metadata").await;
    assert_eq!(metadata.headers["content-type"], "application/samlmetadata+xml");
    assert!(metadata.body.contains(&format!("Location=\"{ACS}\"")) && metadata.body.contains("ds:SignatureValue"));
    // Where SAML is not set up there is nothing to be had.
    let without = world_with(people).await;
    assert_eq!(Browser::new(&without).get("/oauth2/saml/metadata").await.status, 400);
    assert_eq!(post(&without, "<x/>", None).await.status, 400);
    assert_eq!(Browser::new(&without).get("/oauth2/saml/nothing").await.status, 404);
}

#[tokio::test]
async fn a_name_made_for_one_sign_on_becomes_no_user_and_expired_metadata_signs_nobody_in() {
    let world = world_with(|policy| saml(policy, |p| (p.create_users, p.idp_initiated) = (true, true))).await;
    let message = |world: &World, format: &str| {
        let says = Says { name_id: "_d3adb33f".to_owned(), ..says(world, None) };
        let assertion = says.assertion().replace(ISSUED_FORMAT, format);
        says.response(&RSA.sign(&assertion, &says.assertion_id))
    };
    let transient = message(&world, "urn:oasis:names:tc:SAML:2.0:nameid-format:transient");
    assert_eq!(post(&world, &transient, None).await.status, 400);
    let lasting = message(&world, "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent");
    assert!(post(&world, &lasting, None).await.to.starts_with("/oauth2/saml/finish?t="), "its twin");
    // What expires is refused from that second on.
    let until = world.clock.now().plus(60);
    world.reload(|policy| {
        saml(policy, |p| {
            p.idp_initiated = true;
            p.idp.valid_until = Some(until);
        });
    });
    let good = |world: &World| says(world, None).signed(&RSA, Signs::Both);
    assert!(post(&world, &good(&world), None).await.to.starts_with("/oauth2/saml/finish?t="));
    world.clock.advance(60);
    assert_eq!(post(&world, &good(&world), None).await.status, 400);
    let policy = world.policy.load();
    let why = |entity: &str| policy.saml.usable(entity, world.clock.now()).unwrap_err().to_string();
    let told = "the metadata of corp was valid until 1970-01-12T13:47:40Z; now 1970-01-12T13:47:40Z";
    assert_eq!(why("https://idp.example"), told);
    assert_eq!(why("https://two.example"), "\"https://two.example\" is no IdP of ours");
}
