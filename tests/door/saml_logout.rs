//! Single logout by the browser, both ways.
use crate::{
    people::{Browser, Shown, opens, redeem, request},
    provider::{World, world_with},
    saml_messages::{OTHER, RSA},
    saml_sign_on::{ISSUED_FORMAT, LOGOUT, begin, post, saml, says, world},
};
use portcullis::{
    clock::Clock,
    saml::{NameId, ServiceProvider, TrustedKeys, binding, request::new_id, sign::SigningKey},
};

/// What writes the IdP's messages: they are of the same kind as ours.
fn idp(pkcs8: &[u8]) -> ServiceProvider {
    ServiceProvider {
        entity: "https://idp.example".to_owned(),
        acs: String::new(),
        logout: String::new(),
        key: SigningKey::from_pkcs8(pkcs8).unwrap(),
        certificate: RSA.certificate.clone(),
    }
}

fn alice() -> NameId {
    NameId { value: "alice".to_owned(), format: Some(ISSUED_FORMAT.to_owned()), ..NameId::default() }
}

/// A browser in which alice signed in at the IdP, and a token that lives by her session.
async fn signed_in(world: &World) -> (Browser<'_>, serde_json::Value) {
    let (browser, body) = signed_in_for(world, "openid read").await;
    (browser, body["access_token"].clone())
}

async fn signed_in_for<'a>(world: &'a World, scope: &str) -> (Browser<'a>, serde_json::Value) {
    let mut browser = Browser::new(world);
    let (id, relay) = begin(&mut browser, &request("admin", &[("scope", scope)])).await;
    let message = says(world, Some(&id)).signed(&RSA, crate::saml_messages::Signs::Both);
    let answered = post(world, &message, Some(&relay)).await;
    let end = browser.follow(answered).await;
    let code = crate::people::answer(&end)["code"].clone();
    let (status, body) = redeem(world, "admin", &code, &[]).await;
    assert_eq!(status, 200, "{body}");
    (browser, body)
}

async fn is_in(browser: &mut Browser<'_>) -> bool {
    !browser.get(&request("admin", &[("prompt", "none")])).await.to.contains("login_required")
}

/// Where the browser is sent, without the address before the query.
fn query<'a>(shown: &'a Shown, to: &str) -> &'a str {
    let rest = shown.to.strip_prefix(to).unwrap_or_else(|| panic!("{} {}", shown.to, shown.body));
    rest.strip_prefix('?').unwrap()
}

fn field(query: &str, name: &str) -> String {
    let mut all = form_urlencoded::parse(query.as_bytes());
    all.find(|(n, _)| n == name).map(|(_, v)| v.into_owned()).unwrap()
}

/// The message in a query.
fn unpacked(query: &str, name: &str) -> String {
    use std::io::Read;
    let packed = binding::from_field(&field(query, name)).unwrap();
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(&*packed).read_to_string(&mut text).unwrap();
    text
}

fn signed_by_us(query: &str) {
    let (signed, signature) = query.split_once("&Signature=").unwrap();
    let signature = percent_encoding::percent_decode_str(signature).decode_utf8().unwrap();
    let keys = TrustedKeys::of([crate::saml_messages::P256.certificate.as_slice()]).unwrap();
    let algorithm = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
    keys.verify_detached(algorithm, signed.as_bytes(), &binding::from_field(&signature).unwrap()).unwrap();
}

#[tokio::test]
async fn an_idp_signs_somebody_out_here_with_their_tokens_and_gets_an_answer() {
    let world = world().await;
    let (mut browser, token) = signed_in(&world).await;
    let (mut second, _) = signed_in(&world).await;
    let sp = idp(&RSA.pkcs8);
    let ask = |sp: &ServiceProvider, to: &str, session: Option<&str>, name: &NameId, age: i64| {
        let now = world.clock.now().plus(-age);
        let message = sp.logout_request(&new_id(), to, name, session, now);
        let address = binding::to_query("x:", "SAMLRequest", &message, Some("their state"), &sp.key);
        format!("/oauth2/saml/logout?{}", address.split_once('?').unwrap().1)
    };
    let other = NameId { value: "bob".to_owned(), ..alice() };
    for (why, target) in [
        ("a foreign key", ask(&idp(&OTHER.pkcs8), LOGOUT, None, &alice(), 0)),
        ("another address", ask(&sp, "https://id.example/", None, &alice(), 0)),
        ("an old one", ask(&sp, LOGOUT, None, &alice(), 700)),
        ("one of the future", ask(&sp, LOGOUT, None, &alice(), -60)),
        ("unsigned", ask(&sp, LOGOUT, None, &alice(), 0).split("&SigAlg").next().unwrap().to_owned()),
        ("nothing", "/oauth2/saml/logout".to_owned()),
    ] {
        assert_eq!(Browser::new(&world).get(&target).await.status, 400, "{why}");
    }
    for target in [ask(&sp, LOGOUT, None, &other, 0), ask(&sp, LOGOUT, Some("_another"), &alice(), 0)] {
        let answered = Browser::new(&world).get(&target).await;
        let told = unpacked(query(&answered, "https://idp.example/slo"), "SAMLResponse");
        let status = |name: &str| told.contains(&format!("\"urn:oasis:names:tc:SAML:2.0:status:{name}\""));
        assert!(status("Responder") && status("UnknownPrincipal") && !status("Success"), "{told}");
    }
    assert!(is_in(&mut browser).await && opens(&world, &token), "so far nobody was signed out");
    let answered = Browser::new(&world).get(&ask(&sp, LOGOUT, Some("_s1"), &alice(), 0)).await;
    let told = query(&answered, "https://idp.example/slo");
    assert!(told.starts_with("SAMLResponse=") && told.contains("RelayState=their%20state"), "{told}");
    signed_by_us(told);
    assert!(unpacked(told, "SAMLResponse").contains("status:Success"));
    assert!(!is_in(&mut browser).await && !is_in(&mut second).await && !opens(&world, &token));
    // By form, too.
    let (mut browser, _) = signed_in(&world).await;
    let id = new_id();
    // The name alone is enough, but not one of another format.
    let foreign = NameId { format: Some("urn:oasis:names:tc:SAML:2.0:nameid-format:transient".to_owned()), ..alice() };
    Browser::new(&world).get(&ask(&sp, LOGOUT, None, &foreign, 0)).await;
    assert!(is_in(&mut browser).await);
    let bare = NameId { format: None, qualifier: Some("https://idp.example".to_owned()), ..alice() };
    let message = sp.signed(&sp.logout_request(&id, LOGOUT, &bare, None, world.clock.now()), &id);
    let field = binding::to_field(&message);
    let answered = Browser::new(&world).post("/oauth2/saml/logout", &[("SAMLRequest", &field)]).await;
    query(&answered, "https://idp.example/slo");
    assert!(!is_in(&mut browser).await);
}

#[tokio::test]
async fn who_signs_out_here_is_signed_out_there_and_comes_back() {
    let world = world().await;
    let (mut browser, token) = signed_in(&world).await;
    let page = browser.get("/oauth2/logout").await;
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("form-action 'self' https:"));
    let led = browser.submit(&page, &[("confirm", "yes")]).await;
    let asked = query(&led, "https://idp.example/slo");
    signed_by_us(asked);
    assert!(!is_in(&mut browser).await && !opens(&world, &token), "it has ended here already");
    let text = unpacked(asked, "SAMLRequest");
    assert!(text.contains(">alice</saml:NameID>") && text.contains("<samlp:SessionIndex>_s1<"), "{text}");
    let id = text.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let sp = idp(&RSA.pkcs8);
    let answer = |to: &str| {
        let message = sp.logout_response(&new_id(), LOGOUT, to, true, world.clock.now());
        let address = binding::to_query("x:", "SAMLResponse", &message, Some(&field(asked, "RelayState")), &sp.key);
        format!("/oauth2/saml/logout?{}", address.split_once('?').unwrap().1)
    };
    assert_eq!(browser.get(&answer("_another")).await.status, 400);
    let end = browser.get(&answer(id)).await;
    assert!(end.status == 200 && end.body.contains("Signed out"), "{}", end.body);
    assert_eq!(browser.get(&answer(id)).await.status, 400, "nobody waits any more");
}

#[tokio::test]
async fn single_logout_ends_what_apps_do_meanwhile_only_where_the_idp_s_table_says_so() {
    for ends in [false, true] {
        let world = world_with(|policy| saml(policy, |p| p.logout_ends_tokens = ends)).await;
        let (mut browser, tokens) = signed_in_for(&world, "openid read offline_access").await;
        // Hers too, from a session that this IdP did not begin.
        let (own, mut here) = crate::people::tokens(&world, "web").await;
        let sp = idp(&RSA.pkcs8);
        let ask = |session: &str| {
            let message = sp.logout_request(&new_id(), LOGOUT, &alice(), Some(session), world.clock.now());
            let address = binding::to_query("x:", "SAMLRequest", &message, None, &sp.key);
            format!("/oauth2/saml/logout?{}", address.split_once('?').unwrap().1)
        };
        Browser::new(&world).get(&ask("_another")).await;
        assert!(opens(&world, &tokens["access_token"]) && is_in(&mut browser).await, "another session");
        Browser::new(&world).get(&ask("_s1")).await;
        assert!(!is_in(&mut browser).await);
        assert_eq!(opens(&world, &tokens["access_token"]), !ends, "at the gate, at once");
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let (status, body) = crate::people::refresh(&world, "admin", refresh).await;
        assert_eq!(status, if ends { 400 } else { 200 }, "{body}");
        assert!(opens(&world, &own["access_token"]) && is_in(&mut here).await, "the other session goes on");
    }
}

#[tokio::test]
async fn single_logout_ends_tokens_also_when_the_session_here_has_run_out() {
    let world = world_with(|policy| {
        saml(policy, |p| p.logout_ends_tokens = true);
        policy.people.session.idle = 60;
    })
    .await;
    let (mut browser, tokens) = signed_in_for(&world, "openid read offline_access").await;
    let online = browser.get(&request("admin", &[("prompt", "none"), ("scope", "openid read")])).await;
    let online = redeem(&world, "admin", &crate::people::answer(&online)["code"], &[]).await.1;
    world.clock.advance(61);
    assert!(!is_in(&mut browser).await && opens(&world, &tokens["access_token"]));
    assert!(opens(&world, &online["access_token"]), "S57 idle, and the app goes on");
    let sp = idp(&RSA.pkcs8);
    let message = sp.logout_request(&new_id(), LOGOUT, &alice(), None, world.clock.now());
    let address = binding::to_query("x:", "SAMLRequest", &message, None, &sp.key);
    Browser::new(&world).get(&format!("/oauth2/saml/logout?{}", address.split_once('?').unwrap().1)).await;
    assert!(!opens(&world, &tokens["access_token"]));
    assert!(!opens(&world, &online["access_token"]), "what lives by a session, too");
}

#[tokio::test]
async fn s58_a_logout_request_ends_nobody_twice_and_nobody_else_s_session() {
    let world = world().await;
    let (mut browser, _) = signed_in(&world).await;
    let sp = idp(&RSA.pkcs8);
    let ask = |name: &NameId| {
        let message = sp.logout_request(&new_id(), LOGOUT, name, None, world.clock.now());
        let address = binding::to_query("x:", "SAMLRequest", &message, None, &sp.key);
        format!("/oauth2/saml/logout?{}", address.split_once('?').unwrap().1)
    };
    // Mallory gets a request about himself from the IdP, and leads alice's browser to it.
    let mallory = NameId { value: "mallory".to_owned(), ..alice() };
    let led = browser.get(&ask(&mallory)).await;
    assert_eq!(led.status, 303);
    assert!(browser.cookies.contains_key("__Host-portcullis") && is_in(&mut browser).await);
    let about_her = ask(&alice());
    assert_eq!(browser.get(&about_her).await.status, 303);
    assert!(browser.cookies.get("__Host-portcullis").is_none_or(|c| c.is_empty()) && !is_in(&mut browser).await);
    // Whoever kept it signs nobody out who has come back since (S52).
    let (mut browser, _) = signed_in(&world).await;
    assert_eq!(Browser::new(&world).get(&about_her).await.status, 400);
    assert!(is_in(&mut browser).await);
}
