//! How sure it is who sits there, where an IdP asked them: what it says of two factors, and what is asked of it.
use crate::{
    people::{Browser, Shown, answer, redeem, request},
    provider::{World, world_with},
    saml_messages::{RSA, Signs},
    saml_sign_on::{field, post, saml, says, way},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    clock::Clock,
    model::Level,
    saml::{binding, request::new_id},
};

const MFA: &str = "https://refeds.org/profile/mfa";
const PASSWORD: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport";

async fn world(contexts: &'static [&'static str]) -> World {
    world_with(|policy| {
        saml(policy, |p| p.high_assurance_contexts = contexts.iter().map(|c| (*c).to_owned()).collect());
    })
    .await
}

/// The form that leads to the IdP: what it asks, and whether it asks for two factors.
fn sent(page: &Shown) -> (String, String, bool) {
    let text = String::from_utf8(binding::from_field(&field(page, "SAMLRequest")).unwrap()).unwrap();
    let id = text.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let asked = text.contains("<samlp:RequestedAuthnContext Comparison=\"exact\">") && text.contains(MFA);
    (id, field(page, "RelayState"), asked)
}

/// Answers it: alice, by `class`.
async fn answered(browser: &mut Browser<'_>, (id, relay): (&str, &str), class: &str) -> Shown {
    let world = browser.world;
    let mut says = says(world, Some(id));
    class.clone_into(&mut says.class);
    says.response_id = new_id();
    let back = post(world, &says.signed(&RSA, Signs::Both), Some(relay)).await;
    browser.follow(back).await
}

/// The ID token's claims at the end of a sign-on.
async fn claims(world: &World, client: &str, end: &Shown) -> serde_json::Value {
    let code = answer(end).get("code").cloned().unwrap_or_else(|| panic!("{} {}", end.to, end.body));
    let (status, body) = redeem(world, client, &code, &[]).await;
    assert_eq!(status, 200, "{body}");
    let payload = body["id_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn the_level_is_what_the_idp_says_in_words_that_are_known_and_amr_only_what_was_shown_here() {
    for (contexts, class, level) in [
        (&[MFA][..], MFA, Level::HighAssurance),
        (&[MFA], PASSWORD, Level::Standard),
        (&[MFA], "https://refeds.org/profile/mfa/", Level::Standard),
        (&[], MFA, Level::Standard),
    ] {
        let world = world(contexts).await;
        let mut browser = Browser::new(&world);
        let page = browser.visit(&request("admin", &[])).await;
        let (id, relay, asked) = sent(&browser.get(&way(&page)).await);
        assert!(!asked, "nobody wants more");
        let end = answered(&mut browser, (&id, &relay), class).await;
        let told = claims(&world, "admin", &end).await;
        assert_eq!((told["acr"].as_str(), told.get("amr")), (Some(level.acr()), None), "{class} {contexts:?}");
    }
}

#[tokio::test]
async fn who_asks_for_two_factors_has_the_idp_asked_where_it_knows_them() {
    let high = [("acr_values", Level::HighAssurance.acr())];
    for (client, more) in [("strict", &[][..]), ("admin", &high)] {
        let world = world(&[MFA]).await;
        let mut browser = Browser::new(&world);
        let page = browser.visit(&request(client, more)).await;
        let (id, relay, asked) = sent(&browser.get(&way(&page)).await);
        assert!(asked, "{client}");
        let end = answered(&mut browser, (&id, &relay), MFA).await;
        assert!(!end.body.contains("id=\"secret\""), "{}", end.body);
        // An IdP that says less than it was asked for has shown one factor: the other is asked for here.
        let mut browser = Browser::new(&world);
        let page = browser.visit(&request(client, more)).await;
        let (id, relay, _) = sent(&browser.get(&way(&page)).await);
        let end = answered(&mut browser, (&id, &relay), PASSWORD).await;
        assert!(end.to.is_empty() && end.body.contains("id=\"secret\""), "enrols here: {} {}", end.to, end.body);
    }
    let world = world(&[]).await;
    let mut browser = Browser::new(&world);
    let page = browser.visit(&request("strict", &[])).await;
    assert!(!sent(&browser.get(&way(&page)).await).2, "this IdP has no words for it");
}

#[tokio::test]
async fn a_session_of_one_factor_is_raised_at_the_idp_or_here_and_amr_tells_the_two_apart() {
    let world = world(&[MFA]).await;
    let mut browser = Browser::new(&world);
    let page = browser.visit(&request("admin", &[])).await;
    let (id, relay, _) = sent(&browser.get(&way(&page)).await);
    answered(&mut browser, (&id, &relay), PASSWORD).await;
    world.clock.advance(60);
    let high = request("admin", &[("acr_values", Level::HighAssurance.acr())]);
    let led = browser.get(&high).await;
    assert!(led.to.starts_with("/oauth2/saml/start?idp=corp&i="), "{} {}", led.to, led.body);
    let (id, relay, asked) = sent(&browser.get(&led.to).await);
    assert!(asked);
    // It cannot, and is not asked again: here, then.
    let page = answered(&mut browser, (&id, &relay), PASSWORD).await;
    let secret = page.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let secret = totp_rs::Secret::Encoded(secret).to_bytes().unwrap();
    let at = world.clock.now().0.unsigned_abs();
    let code = totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret).generate(at);
    let end = browser.submit(&page, &[("code", &code)]).await;
    let end = browser.follow(end).await;
    let told = claims(&world, "admin", &end).await;
    assert_eq!(told["acr"], Level::HighAssurance.acr());
    assert_eq!(told["amr"], serde_json::json!(["otp"]), "the IdP's factor is not ours to name");
    // Who has a second factor here is asked for it, unless the IdP has asked for two.
    for (class, due) in [(PASSWORD, true), (MFA, false)] {
        let mut browser = Browser::new(&world);
        let page = browser.visit(&request("admin", &[])).await;
        let (id, relay, _) = sent(&browser.get(&way(&page)).await);
        let end = answered(&mut browser, (&id, &relay), class).await;
        assert_eq!(end.to.is_empty() && end.body.contains("name=\"code\""), due, "{class}: {} {}", end.to, end.body);
    }
}
