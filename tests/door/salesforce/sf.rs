//! `sf`, Salesforce's command line: what it sends, and what it keeps.
use super::*;
use portcullis::secret;

const ITSELF: &str = "PlatformCLI";
const OWN: &str = "http://localhost:1717/OauthRedirect";

/// The characters of a key, a secret and a refresh token in a `force://` URL: `[A-Za-z0-9._-]+={0,2}`.
fn fits(text: &str) -> bool {
    let bare = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text);
    !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_session(token: &str) -> bool {
    let (organization, rest) = token.split_once('!').unwrap_or_default();
    organization == ORGANIZATION
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b))
}

async fn world_of_sf() -> World {
    let w = world().await;
    w.reload(|policy| {
        let mut client = connected(ITSELF);
        client.auth_method = AuthMethod::None;
        client.secrets.clear();
        client.scopes = ScopeSet::of(&["refresh_token", "api", "web"]);
        client.interactive.redirect_uris = vec![OWN.to_owned()];
        policy.clients.insert(ITSELF.into(), Arc::new(client));
    });
    w
}

#[tokio::test]
async fn what_sf_keeps_in_its_urls_has_the_characters_that_they_allow() {
    let w = world_of_sf().await;
    let asked = [("redirect_uri", OWN), ("prompt", "login"), ("scope", "refresh_token api web")];
    let mut b = Browser::new(&w);
    let code = b.authorize(&authorize(ITSELF, &asked), "alice").await["code"].clone();
    let verifier = verifier();
    let redeem = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("client_id", ITSELF),
        ("redirect_uri", OWN),
        ("code_verifier", &verifier),
    ];
    let (status, body) = token(&w, &redeem).await;
    assert_eq!((status, &body["scope"]), (200, &json!("api refresh_token web")), "{body}");
    assert!(is_session(text(&body, "access_token")) && fits(text(&body, "refresh_token")), "{body}");
    assert!(fits(ITSELF) && fits(&secret::random_token()) && fits(&secret::random_name()));
    // Who that is: it asks by the header, and takes the organization from there.
    let who = Request::get("/services/oauth2/userinfo")
        .header("authorization", format!("Bearer {}", text(&body, "access_token")));
    let who = read(&send(&w, who, "").await);
    assert_eq!((&who["preferred_username"], &who["organization_id"]), (&json!("alice"), &json!("00D000000000062EAA")));
    let again = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&body, "refresh_token")),
        ("client_id", ITSELF),
        ("redirect_uri", OWN),
        ("code_verifier", &verifier),
    ];
    let (status, second) = token(&w, &again).await;
    assert!(
        status == 200 && is_session(text(&second, "access_token")) && fits(text(&second, "refresh_token")),
        "{second}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s43_sf_signs_in_by_a_device_code_and_sends_forms_in_parts() {
    let w = world_of_sf().await;
    let parts = async |fields: &[(&str, &str)]| {
        let part = |(name, value): &(&str, &str)| {
            format!("----f\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = format!("{}----f--\r\n", fields.iter().map(part).collect::<String>());
        let request = Request::post(TOKEN).header("content-type", "multipart/form-data; boundary=--f");
        let response = send(&w, request, &body).await;
        (response.status().as_u16(), read(&response))
    };
    let begin = [("response_type", "device_code"), ("client_id", ITSELF), ("scope", "refresh_token web api")];
    let (status, begun) = parts(&begin).await;
    assert_eq!((status, &begun["interval"]), (200, &json!(5)), "{begun}");
    let poll = [("code", text(&begun, "device_code")), ("grant_type", "device"), ("client_id", ITSELF)];
    let (status, waiting) = parts(&poll).await;
    assert_eq!((status, &waiting["error"]), (400, &json!("authorization_pending")));
    let mut b = Browser::new(&w);
    let page = b.visit(&format!("/oauth2/device?user_code={}", text(&begun, "user_code"))).await;
    let page = b.sign_in(&page, "alice").await;
    assert_eq!(b.submit(&page, &[("decision", "allow")]).await.status, 200);
    w.clock.advance(5);
    let (status, body) = parts(&poll).await;
    assert!(status == 200 && is_session(text(&body, "access_token")) && fits(text(&body, "refresh_token")), "{body}");
}
