//! The web server flow with PKCE and refresh, and the device flow: a person, two screens, and what she takes back.
use super::{Tour, until, user_agent::UserAgent};
use crate::secret::{self, Digest};
use serde_json::Value;
use std::{thread, time::Duration};

const APP: &str = "notebook";
const CALLBACK: &str = "http://127.0.0.1:51004/callback";
/// As `conf/users.toml` tells everybody.
const PASSWORD: &str = "correct horse battery staple";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The address that the app opens in a browser; PKCE as in RFC 7636 §4.
pub fn ask(verifier: &str) -> String {
    ask_for(verifier, "openid profile offline_access orders:read")
}

/// The same for other scopes.
pub fn ask_for(verifier: &str, scope: &str) -> String {
    let challenge = Digest::text(verifier);
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("response_type", "code"),
            ("client_id", APP),
            ("redirect_uri", CALLBACK),
            ("scope", scope),
            ("state", "af0ifjsldkj"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    format!("/oauth2/authorize?{query}")
}

/// A text of an answer in JSON.
pub fn member(answer: &str, name: &str) -> Result<String, String> {
    let parsed: Value = serde_json::from_str(answer).map_err(|e| e.to_string())?;
    parsed[name].as_str().map(str::to_owned).ok_or_else(|| format!("the answer holds no {name}: {answer}"))
}

/// From an app's link to a token, straight on the next time, renewed, and a replay that ends it all.
pub fn code_flow(alice: &mut UserAgent<'_>) -> Result<(), String> {
    let tour = alice.tour;
    let verifier = secret::random_token();
    let browser = "curl -L -b jar -c jar --cacert certs/ca.pem";
    let line = format!("{browser} '{}/oauth2/authorize?response_type=code&client_id={APP}&...'", tour.issuer);
    let login = alice.open(&ask(&verifier))?.expect("9. The app opens a browser", &line, "name=\"password\"")?;
    let wrong = alice.submit(&login, &[("username", "alice"), ("password", "a guess")])?;
    let typed = format!("{browser} -d username=alice -d password=... {}/oauth2/login?i=...", tour.issuer);
    let login = wrong.expect("10. A wrong password", &typed, "role=\"alert\"")?;
    let consent = alice.submit(&login, &[("username", "alice"), ("password", PASSWORD)])?;
    let consent = consent.expect("11. The right one: what does the app want?", &typed, "value=\"allow\"")?;
    let back = alice.submit(&consent, &[("decision", "allow")])?;
    let line = format!("{browser} -d decision=allow {}/oauth2/consent?i=...", tour.issuer);
    let back = back.expect("12. Yes: back to the app, with a code", &line, CALLBACK)?;
    let code = back.field("code").ok_or("no code came back")?;
    let first = redeem(tour, "13. The app redeems it", &code, &verifier)?;
    tour.call("14. And calls the API through the gate", "GET", &member(&first, "access_token")?, 200)?;
    let line = format!("{browser} '{}/oauth2/authorize?response_type=code&client_id={APP}&...'", tour.issuer);
    alice.open(&ask(&verifier))?.expect("15. The next time: no page, straight back", &line, "code=")?;
    renewed(tour, &member(&first, "refresh_token")?)
}

/// The app gets its tokens for `code`.
pub fn redeem(tour: &Tour, title: &str, code: &str, verifier: &str) -> Result<String, String> {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", APP),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", verifier),
    ];
    tour.post(title, "/oauth2/token", &fields, 200)
}

/// A call of the API, which has to see `user`.
pub fn calls(tour: &Tour, title: &str, token: &str, user: &str) -> Result<(), String> {
    let seen = tour.call(title, "GET", token, 200)?;
    let expected = format!("\"x-forwarded-user\":\"{user}\"");
    if seen.contains(&expected) { Ok(()) } else { Err(format!("the API did not see {user}: {seen}")) }
}

fn renewed(tour: &Tour, first: &str) -> Result<(), String> {
    let refresh = |token: &str, title: &str, expected: u16| {
        let fields = [("grant_type", "refresh_token"), ("client_id", APP), ("refresh_token", token)];
        tour.post(title, "/oauth2/token", &fields, expected)
    };
    let second = refresh(first, "16. The next day: refresh, and both tokens are new", 200)?;
    let access = member(&second, "access_token")?;
    tour.call("17. The new one opens the API", "GET", &access, 200)?;
    refresh(first, "18. Somebody shows the old refresh token: it was stolen", 400)?;
    tour.call("19. So everything that came from it has ended", "GET", &access, 401).map(drop)
}

/// A code on one screen, a yes on another; and the yes taken back.
pub fn device_flow(alice: &mut UserAgent<'_>) -> Result<(), String> {
    let tour = alice.tour;
    let fields = [("client_id", APP), ("scope", "offline_access orders:read")];
    let begun = tour.post("20. The device asks for a code", "/oauth2/device_authorization", &fields, 200)?;
    let (link, device) = (member(&begun, "verification_uri_complete")?, member(&begun, "device_code")?);
    println!("   On the device's screen: {}, or scan\n", member(&begun, "user_code")?);
    let qr = qrcode::QrCode::new(&link).map_err(|e| e.to_string())?;
    println!("{}\n", qr.render::<qrcode::render::unicode::Dense1x2>().build());
    let poll = |title: &str, expected: u16| {
        let fields = [("grant_type", DEVICE), ("client_id", APP), ("device_code", &*device)];
        tour.post(title, "/oauth2/token", &fields, expected)
    };
    poll("21. It asks whether somebody has said yes", 400)?;
    let target = link.strip_prefix(&tour.issuer).ok_or("the link leads elsewhere")?.to_owned();
    let browser = "curl -L -b jar -c jar --cacert certs/ca.pem";
    let page = alice.open(&target)?;
    let line = format!("{browser} '{}/oauth2/device?user_code=...'", tour.issuer);
    let page = page.expect("22. Her phone, where she is signed in, names the app", &line, "Orders notebook")?;
    let done = alice.submit(&page, &[("decision", "allow")])?;
    let line = format!("{browser} -d decision=allow {}/oauth2/device", tour.issuer);
    done.expect("23. She says yes", &line, "<h1>")?;
    thread::sleep(Duration::from_secs(5)); // the interval that the device was told
    let answer = poll("24. The device asks again", 200)?;
    let access = member(&answer, "access_token")?;
    tour.call("25. And calls the API", "GET", &access, 200)?;
    let apps = alice.open("/oauth2/account")?;
    let line = format!("{browser} {}/oauth2/account", tour.issuer);
    let apps = apps.expect("26. Her apps", &line, "Orders notebook")?;
    alice.submit(&apps, &[("client", APP), ("action", "revoke")])?;
    let ended = until(|| tour.send("GET", &access).is_ok_and(|(status, _)| status == 401));
    ended.then_some(()).ok_or("what she took back still opens the API")?;
    tour.call("27. She takes access back: the very next call", "GET", &access, 401)?;
    // Times are whole seconds: what she allows within the one in which she took it back counts as allowed before.
    thread::sleep(Duration::from_secs(1));
    Ok(())
}
