//! People whom an IdP brought: they stand on it, and on the groups that it last named.
use crate::{
    people::{Browser, answer, people, redeem, refresh, request},
    provider::{World, world_with},
    saml_grants::partner,
    saml_messages::{OTHER, RSA, Says, Signs},
    saml_sign_on::{begin, post, saml, says},
};
use portcullis::{
    clock::Clock,
    policy::{Policy, saml::Partner},
    saml::request::new_id,
};
use serde_json::Value;
use std::sync::Arc;

const CORP: &str = "https://idp.example";
const TWO: &str = "https://two.example";
const SALES: &str = "R&D <all>";

/// Another IdP, which brings people too.
fn second(policy: &mut Policy) {
    let mut other = partner(&OTHER, false);
    other.idp.entity = TWO.to_owned();
    (other.name, other.create_users, other.idp_initiated) = ("two".to_owned(), true, true);
    other.domains = ["two.example".to_owned()].into();
    policy.saml.partners.insert(TWO.to_owned(), Arc::new(other));
}

fn bringing(p: &mut Partner) {
    (p.create_users, p.idp_initiated) = (true, true);
}

/// Whether a token opens anything at the gate.
fn stands(world: &World, token: &Value) -> bool {
    let opened = world.tokens.open(token.as_str().unwrap(), world.clock.now());
    opened.is_ok_and(|opened| world.policy.load().standing(&opened, world.clock.now()).is_some())
}

/// `name` signs in at the IdP for `client` with these groups, up to the redirect to the app.
async fn signs_in<'a>(world: &'a World, name: &str, groups: &[&str], target: &str) -> (Browser<'a>, String) {
    let mut browser = Browser::new(world);
    let (id, relay) = begin(&mut browser, target).await;
    let mut says = says(world, Some(&id));
    says.name_id = name.to_owned();
    says.attributes = vec![("groups".to_owned(), groups.iter().map(|g| (*g).to_owned()).collect())];
    let answered = post(world, &says.signed(&RSA, Signs::Both), Some(&relay)).await;
    let mut end = browser.follow(answered).await;
    if end.body.contains("value=\"allow\"") {
        end = browser.submit(&end, &[("decision", "allow")]).await;
    }
    (browser, end.to)
}

/// The same, with the tokens that the app gets.
async fn tokens<'a>(world: &'a World, name: &str, client: &str) -> (Browser<'a>, Value) {
    let target = request(client, &[("scope", "openid read offline_access")]);
    let (browser, to) = signs_in(world, name, &[SALES], &target).await;
    let code = to.split("code=").nth(1).unwrap_or_else(|| panic!("{to}")).split('&').next().unwrap();
    let (status, body) = redeem(world, client, code, &[]).await;
    assert_eq!(status, 200, "{body}");
    (browser, body)
}

/// Whether a browser's session holds still.
async fn is_in(browser: &mut Browser<'_>) -> bool {
    !browser.get(&request("admin", &[("prompt", "none")])).await.to.contains("login_required")
}

#[tokio::test]
async fn people_end_with_the_idp_that_brought_them_though_another_one_brings_people() {
    let world = world_with(|policy| {
        saml(policy, bringing);
        second(policy);
    })
    .await;
    let (mut browser, carol) = tokens(&world, "carol", "admin").await;
    let (mut hers, alice) = tokens(&world, "alice", "admin").await;
    assert!(stands(&world, &carol["access_token"]) && is_in(&mut browser).await);
    // Her session behind the gate, too.
    let mut portal = Browser::new(&world);
    portal.host = "portal.example";
    let start = portal.get("/oauth2/start?rd=/").await;
    let mut page = browser.visit(&start.to).await;
    if page.body.contains("value=\"allow\"") {
        page = browser.submit(&page, &[("decision", "allow")]).await;
    }
    let fields = answer(&page);
    portal.get(&format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"])).await;
    assert_eq!(portal.get("/oauth2/auth").await.status, 202);
    // Alice stands in users.toml: what she has is her own, and her session at that IdP goes with it.
    world.reload(|policy| {
        saml(policy, bringing);
        policy.saml.partners.clear();
        second(policy);
    });
    assert!(!stands(&world, &carol["access_token"]), "at once, by the policy alone");
    assert!(!is_in(&mut browser).await && portal.get("/oauth2/auth").await.status == 401);
    assert_eq!(refresh(&world, "admin", carol["refresh_token"].as_str().unwrap()).await.0, 400);
    assert!(stands(&world, &alice["access_token"]) && !is_in(&mut hers).await);
    // An IdP that may bring nobody any more is as good as gone for whom it brought.
    world.reload(|policy| {
        saml(policy, |p| p.existing_users = true);
        second(policy);
    });
    assert!(!stands(&world, &carol["access_token"]) && is_in(&mut hers).await);
    // Whoever is taken out of users.toml is nobody, however many an IdP brings.
    world.reload(|policy| {
        saml(policy, bringing);
        policy.users.remove("alice");
    });
    assert!(!stands(&world, &alice["access_token"]) && !is_in(&mut hers).await);
    assert!(stands(&world, &carol["access_token"]), "and hers is back with its settings, until it expires");
}

#[tokio::test]
async fn groups_that_are_lost_at_the_next_sign_on_end_what_they_had_allowed_and_nothing_else() {
    let world = world_with(|policy| saml(policy, bringing)).await;
    let (_, admin) = tokens(&world, "carol", "admin").await;
    let (_, web) = tokens(&world, "carol", "web").await;
    let (_, dave) = tokens(&world, "dave", "admin").await;
    world.clock.advance(60);
    // The same groups again end nothing.
    signs_in(&world, "carol", &["everybody", SALES], &request("admin", &[("prompt", "login")])).await;
    assert!(stands(&world, &admin["access_token"]));
    let (_, to) = signs_in(&world, "carol", &["everybody"], &request("admin", &[("prompt", "login")])).await;
    assert!(to.contains("error=access_denied"), "{to}");
    assert!(!stands(&world, &admin["access_token"]), "at the gate");
    assert_eq!(refresh(&world, "admin", admin["refresh_token"].as_str().unwrap()).await.0, 400);
    assert!(stands(&world, &web["access_token"]), "an app that she approved herself");
    assert!(stands(&world, &dave["access_token"]), "somebody else's");
    // With the groups come new tokens, not the old ones.
    world.clock.advance(60);
    let (_, again) = tokens(&world, "carol", "admin").await;
    assert!(stands(&world, &again["access_token"]) && !stands(&world, &admin["access_token"]));
}

#[tokio::test]
async fn no_idp_brings_a_name_of_a_domain_whose_people_sign_in_elsewhere() {
    let world = world_with(|policy| {
        people(policy);
        saml(policy, bringing);
        second(policy);
    })
    .await;
    let come = async |idp: &crate::saml_messages::Idp, issuer: &str, name: &str| {
        let mut says = says(&world, None);
        (says.issuer, says.name_id, says.assertion_id) = (issuer.to_owned(), name.to_owned(), new_id());
        let answered = post(&world, &says.signed(idp, Signs::Both), None).await;
        Browser::new(&world).get(&answered.to).await
    };
    assert_eq!(come(&RSA, CORP, "erin@two.example").await.status, 400);
    assert_eq!(come(&RSA, CORP, "erin@TWO.example").await.status, 400);
    for (idp, issuer, name) in [
        (&*OTHER, TWO, "erin@two.example"),
        (&RSA, CORP, "erin@corp.example"),
        (&RSA, CORP, "erin@nobody.example"),
        (&OTHER, TWO, "erin"),
    ] {
        assert_eq!(come(idp, issuer, name).await.to, "/oauth2/account", "{name}");
    }
}

#[tokio::test]
async fn s54_an_answer_counts_only_from_the_idp_that_was_asked_and_only_in_the_browser_that_asked() {
    let world = world_with(|policy| {
        saml(policy, |p| p.create_users = true);
        second(policy);
    })
    .await;
    let mut browser = Browser::new(&world);
    let (id, relay) = begin(&mut browser, &request("admin", &[])).await;
    // Another IdP of ours answers the request, with all that went over the browser in its hands.
    let mut mixed = says(&world, Some(&id));
    (mixed.issuer, mixed.name_id) = (TWO.to_owned(), "mallory".to_owned());
    let theirs = mixed.signed(&OTHER, Signs::Both);
    assert_eq!(post(&world, &theirs, Some(&relay)).await.status, 400);
    // Without the RelayState it answers a request that was not made.
    assert_eq!(post(&world, &theirs, None).await.status, 400);
    // Under the name of the one that was asked, its key is none of theirs.
    mixed.issuer = CORP.to_owned();
    assert_eq!(post(&world, &mixed.signed(&OTHER, Signs::Both), Some(&relay)).await.status, 400);
    // Mallory's own answer, put into alice's browser, signs nobody in there (login CSRF).
    let mut hers = Browser::new(&world);
    begin(&mut hers, &request("admin", &[])).await;
    let own = Says { name_id: "mallory".to_owned(), ..says(&world, Some(&id)) };
    let answered = post(&world, &own.signed(&RSA, Signs::Both), Some(&relay)).await;
    assert!(answered.to.starts_with("/oauth2/saml/finish?t="), "{}", answered.body);
    assert_eq!(hers.get(&answered.to).await.status, 400);
    assert!(!hers.cookies.contains_key("__Host-portcullis"));
    assert_eq!(browser.get(&answered.to).await.status, 303, "in its own it does");
}
