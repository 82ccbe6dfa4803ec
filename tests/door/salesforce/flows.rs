//! Flows in Salesforce's form.
use super::*;
use aws_lc_rs::hmac;

fn signed(body: &Value) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let message = format!("{}{}", text(body, "id"), text(body, "issued_at"));
    hmac::verify(&key, message.as_bytes(), &STANDARD.decode(text(body, "signature")).unwrap()).is_ok()
}

#[tokio::test]
async fn s4_web_server_flow_with_a_long_verifier_and_a_challenge_without_method() {
    let w = world().await;
    let body = signed_in(&w, "consumer", &[]).await;
    assert_eq!((text(&body, "instance_url"), text(&body, "token_type")), (INSTANCE, "Bearer"));
    let organization = Salesforce { organization: ORGANIZATION.into(), ..Salesforce::default() };
    let id = format!("{INSTANCE}/id/00D000000000062EAA/{}", organization.user_id("alice"));
    assert_eq!(text(&body, "id"), id);
    assert_eq!(text(&body, "issued_at"), format!("{}000", w.clock.now().0));
    assert!(signed(&body), "the secret of this very request signs");
    let access = text(&body, "access_token");
    let (organization, rest) = access.split_once('!').unwrap();
    assert_eq!(organization, ORGANIZATION);
    assert!(rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_'), "{rest}");
    assert!(text(&body, "refresh_token").bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
    assert!(body.get("expires_in").is_none() && body.get("id_token").is_some());
    assert!(opens(&w, &body["access_token"]));
    // One token has one text.
    for other in
        [access.replacen(ORGANIZATION, "00D000000000063", 1), access.replacen('.', "-", 1), format!("{access}A")]
    {
        assert!(other == access || !opens(&w, &json!(other)), "{other}");
    }
    for challenge in ["too short", &*"x".repeat(43)] {
        let refused = Browser::new(&w).get(&authorize("consumer", &[("code_challenge", challenge)])).await;
        assert_eq!(refused.to.contains("error=invalid_request"), challenge.len() < 43, "{}", refused.to);
    }
    let (plain, method) = (("code_challenge", &*"x".repeat(43)), ("code_challenge_method", "plain"));
    let refused = Browser::new(&w).get(&authorize("consumer", &[plain, method])).await;
    assert!(refused.to.contains("error=invalid_request"), "S4 {}", refused.to);
}

#[tokio::test]
async fn s27_s28_s49_refresh_ignores_a_stray_verifier_and_revocation_needs_the_token_alone() {
    let w = world().await;
    let first = signed_in(&w, "consumer", &[]).await;
    let verifier = verifier();
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "consumer"),
        ("client_secret", SECRET),
        ("refresh_token", text(&first, "refresh_token")),
        ("code_verifier", &verifier),
        ("redirect_uri", CALLBACK),
    ];
    let (status, second) = token(&w, &fields).await;
    assert!(status == 200 && signed(&second) && text(&second, "id") == text(&first, "id"), "{second}");
    let revoked = w.post("/services/oauth2/revoke", None, &[("token", text(&second, "refresh_token"))]).await;
    assert_eq!((revoked.status().as_u16(), revoked.body().len()), (200, 0));
    assert!(!opens(&w, &second["access_token"]), "S49");
    let third = signed_in(&w, "platform", &[]).await;
    let get = Request::get(format!("/services/oauth2/revoke?token={}", text(&third, "access_token")));
    assert_eq!(send(&w, get, "").await.status(), 200);
    assert!(!opens(&w, &third["access_token"]));
    assert_eq!(w.post("/services/oauth2/revoke", None, &[("token", "unknown")]).await.status(), 200, "S47");
    let standard = w.post("/oauth2/revoke", None, &[("token", "unknown")]).await;
    assert_eq!(standard.status(), 401, "the standard path is as strict as before");
}

#[tokio::test]
async fn s16_s17_parameters_come_as_form_multipart_or_where_allowed_in_the_query() {
    let w = world().await;
    let part =
        |name: &str, value: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let body =
        part("grant_type", "client_credentials") + &part("client_id", "consumer") + &part("client_secret", SECRET);
    let multipart = |path: &str| Request::post(path).header("content-type", "multipart/form-data; boundary=b");
    let answer = send(&w, multipart(TOKEN), &format!("{body}--b--\r\n")).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    assert_eq!(read(&answer)["scope"], "api email id openid profile", "full, web and refresh_token are stripped");
    assert_eq!(send(&w, multipart("/oauth2/token"), &format!("{body}--b--\r\n")).await.status(), 400);
    let query = |id: &str| format!("?grant_type=client_credentials&client_id={id}&client_secret={SECRET}&format=json");
    for (id, status) in [("lenient", 200), ("consumer", 400)] {
        let answer = send(&w, Request::post(format!("{TOKEN}{}", query(id))), "").await;
        assert_eq!(answer.status(), status, "S16 {id}");
        assert_eq!(send(&w, Request::post(format!("/oauth2/token{}", query(id))), "").await.status(), 400, "S16");
    }
    let target = format!("{TOKEN}?device_id=1&format=json");
    let ignored = w.post(&target, Some("consumer"), &[("grant_type", "client_credentials")]);
    assert_eq!(ignored.await.status(), 200);
    // Both kinds of credentials: the header is ignored, whatever it says.
    let fields = [("grant_type", "client_credentials"), ("client_id", "consumer"), ("client_secret", SECRET)];
    assert_eq!(w.post(TOKEN, Some("nobody"), &fields).await.status(), 200);
    assert_eq!(w.post("/oauth2/token", Some("consumer"), &fields).await.status(), 400, "S17");
    let twice = w.post(TOKEN, None, &[fields[0], fields[1], fields[1]]).await;
    assert_eq!(read(&twice)["error"], "invalid_request", "S6");
}

#[tokio::test]
async fn s36_s37_jwt_bearer_takes_what_these_clients_sign_and_takes_it_once() {
    let w = world().await;
    // Milliseconds are told from seconds by their size.
    w.clock.advance(1_800_000_000);
    let now = w.clock.now().0;
    let send = |claims: Value| {
        let w = &w;
        async move { token(w, &[("grant_type", BEARER), ("assertion", &w.signed(&claims))]).await }
    };
    let alias = "https://login.salesforce.com";
    for (claims, why) in [
        (json!({"iss": "app", "sub": "alice", "aud": "https://id.example/", "exp": (now + 120) * 1000}), "sf"),
        (json!({"iss": "app", "sub": "alice", "aud": alias, "exp": (now + 180).to_string()}), "simple-salesforce"),
        (json!({"iss": "app", "prn": "alice", "aud": "login.salesforce.com", "exp": now + 180}), "restforce"),
        (json!({"iss": "app", "sub": "alice", "aud": format!("{INSTANCE}{TOKEN}"), "exp": now - 170}), "late clock"),
    ] {
        let (status, body) = send(claims.clone()).await;
        assert!(status == 200 && body.get("refresh_token").is_none(), "{why}: {body}");
        let (status, _) = send(claims.clone()).await;
        assert_eq!(status, 400, "S37 {why}");
        let standard =
            w.post("/oauth2/token", None, &[("grant_type", BEARER), ("assertion", &w.signed(&claims))]).await;
        assert_eq!(standard.status(), 400, "the standard path takes none of it: {why}");
    }
    w.clock.advance(9);
    let late = json!({"iss": "app", "sub": "alice", "aud": format!("{INSTANCE}{TOKEN}"), "exp": now - 170});
    assert_eq!(send(late).await.0, 400, "S37: remembered as long as it holds");
    // An app may have aliases of its own, and then no other.
    let before = w.policy.load_full();
    w.reload(|policy| {
        let mut client = (*policy.clients["app"]).clone();
        client.salesforce.audiences = Some(vec!["https://test.salesforce.com".to_owned()]);
        policy.clients.insert("app".into(), Arc::new(client));
    });
    for (aud, status) in [("https://test.salesforce.com", 200), (alias, 400), ("https://id.example", 200)] {
        let claims = json!({"iss": "app", "sub": "alice", "aud": aud, "exp": now + 150});
        assert_eq!(send(claims).await.0, status, "S36 {aud}");
    }
    w.policy.store(before);
    for (claims, error) in [
        (json!({"iss": "app", "sub": "alice", "aud": format!("{alias}/"), "exp": now + 100}), "audience is invalid"),
        (json!({"iss": "app", "sub": "alice", "aud": alias, "exp": "soon"}), "invalid assertion"),
        (json!({"iss": "app", "sub": "alice", "aud": alias, "exp": now - 181}), "invalid assertion"),
        (json!({"iss": "app", "sub": "alice", "aud": alias, "exp": now + 5000}), "invalid assertion"),
    ] {
        assert_eq!(send(claims.clone()).await.1["error_description"], error, "S34 S36 {claims}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s43_s44_device_flow_in_salesforces_form() {
    let w = world().await;
    let (status, begun) =
        token(&w, &[("response_type", "device_code"), ("client_id", "platform"), ("scope", "api")]).await;
    assert_eq!(status, 200, "{begun}");
    let names: Vec<&String> = begun.as_object().unwrap().keys().collect();
    assert_eq!(names, ["device_code", "interval", "user_code", "verification_uri"]);
    assert!(text(&begun, "user_code").len() == 8 && begun["interval"] == 5);
    let poll = || {
        let fields = [("grant_type", "device"), ("client_id", "platform"), ("code", text(&begun, "device_code"))];
        let w = &w;
        async move { token(w, &fields).await }
    };
    assert_eq!(poll().await.1["error"], "authorization_pending");
    assert_eq!(poll().await.1["error"], "slow_down", "S43");
    let mut b = Browser::new(&w);
    let page = b.visit(&format!("/oauth2/device?user_code={}", text(&begun, "user_code"))).await;
    let page = b.sign_in(&page, "alice").await;
    assert!(b.submit(&page, &[("decision", "allow")]).await.status == 200);
    w.clock.advance(5);
    let (status, body) = poll().await;
    assert!(status == 200 && text(&body, "id").contains("/id/00D"), "{body}");
    assert_eq!(body["scope"], "api");

    // An app with a secret begins without it, and shows it when it asks for the token.
    w.reload(|policy| {
        let mut client = connected("easy");
        client.policies.secret.optional = true;
        policy.clients.insert("easy".into(), Arc::new(client));
    });
    for (app, secret, error) in [
        ("consumer", None, "invalid_client"),
        ("consumer", Some(SECRET), "authorization_pending"),
        ("easy", None, "authorization_pending"),
        ("easy", Some("wrong"), "invalid_client"),
    ] {
        let (status, begun) = token(&w, &[("response_type", "device_code"), ("client_id", app)]).await;
        assert_eq!(status, 200, "{app}: {begun}");
        let code = text(&begun, "device_code");
        let mut poll = vec![("grant_type", "device"), ("client_id", app), ("code", code)];
        poll.extend(secret.map(|secret| ("client_secret", secret)));
        assert_eq!(token(&w, &poll).await.1["error"], error, "{app}");
        let standard = [("grant_type", people::DEVICE), ("client_id", app), ("device_code", code)];
        let answer = w.post("/oauth2/token", None, &standard).await;
        assert_eq!(answer.status(), 401, "S43 {app}: RFC 8628 knows no exception");
    }
    let standard = w.post("/oauth2/device_authorization", None, &[("client_id", "consumer")]).await;
    assert_eq!(standard.status(), 401, "the standard path asks for the secret");
}

#[tokio::test]
async fn s13_user_agent_flow_hands_a_refresh_token_to_a_program_and_to_our_page_alone() {
    let w = world().await;
    for (uri, keeps) in
        [(CALLBACK, false), ("com.example.app:/cb", true), ("https://id.example/services/oauth2/success", true)]
    {
        let request =
            authorize("platform", &[("response_type", "token"), ("redirect_uri", uri), ("code_challenge", "")]);
        let mut b = Browser::new(&w);
        let mut shown = b.get(&request).await;
        // Our own success page would be followed: the way is gone step by step.
        while !shown.to.starts_with(uri) {
            shown = if shown.body.contains("name=\"password\"") {
                b.submit(&shown, &[("username", "alice"), ("password", people::PASSWORD)]).await
            } else if shown.body.contains("value=\"allow\"") {
                b.submit(&shown, &[("decision", "allow")]).await
            } else {
                let to = shown.to.clone();
                b.get(&to).await
            };
        }
        assert!(shown.to.starts_with(&format!("{uri}#")), "{}", shown.to);
        let fields = answer(&shown);
        assert_eq!(fields.contains_key("refresh_token"), keeps, "{uri}");
        assert!(fields["state"] == "xyz" && fields["instance_url"] == INSTANCE && fields["id"].contains("/id/"));
        assert!(!fields.contains_key("signature"), "a public client has no key to check it with");
        assert!(opens(&w, &json!(fields["access_token"])));
    }
    assert!(Browser::new(&w).get("/services/oauth2/success").await.body.contains("Signed in"));
}

#[tokio::test]
async fn s12_immediate_shows_no_page_and_a_posted_request_comes_again() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let immediate = authorize("consumer", &[("immediate", "true")]);
    assert_eq!(answer(&b.get(&immediate).await)["error"], "immediate_unsuccessful", "nobody is signed in");
    b.authorize(&authorize("consumer", &[]), "alice").await;
    assert!(answer(&b.get(&immediate).await).contains_key("code"));
    let (path, query) = immediate.split_once('?').unwrap();
    let fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut with_secrets = fields.clone();
    with_secrets.extend([("client_secret", SECRET), ("password", "mine"), ("code_verifier", "v")]);
    let again = b.post(path, &with_secrets).await;
    assert!(again.to.starts_with("/services/oauth2/authorize?"), "{}", again.to);
    let half = b.post(&format!("{path}?{}", query.split_once('&').unwrap().0), &fields[1..]).await;
    assert!(answer(&b.visit(&half.to).await).contains_key("code"), "{}", half.to);
    let twice = b.post(&immediate, &fields).await;
    assert_eq!(b.visit(&twice.to).await.status, 400, "S6");
    for secret in ["secret", "mine", "verifier"] {
        assert!(!again.to.contains(secret), "S16 {}", again.to);
    }
    assert!(answer(&b.visit(&again.to).await).contains_key("code"));
    // Where the APIs are nobody signs in: both ways lead home.
    let mut there = Browser::new(&w);
    there.host = INSTANCE.strip_prefix("https://").unwrap();
    for shown in [there.get(&immediate).await, there.post(path, &fields).await] {
        assert!(shown.to.starts_with("https://id.example/services/oauth2/authorize?"), "{}", shown.to);
        let home = shown.to.strip_prefix("https://id.example").unwrap();
        assert!(answer(&b.visit(home).await).contains_key("code"), "{}", shown.to);
    }
    // A new yes is asked for where the scopes grow.
    let wider = authorize("consumer", &[("immediate", "true"), ("prompt", "login"), ("scope", "full refresh_token")]);
    let code = answer(&b.get(&wider).await);
    assert!(code.contains_key("code"), "{code:?}");
}

#[tokio::test]
async fn the_hybrid_flow_s_names_are_those_of_the_plain_flows_where_the_app_has_the_switch() {
    let w = world().await;
    w.reload(|policy| {
        let mut client = connected("hybrid");
        client.salesforce.hybrid = true;
        policy.clients.insert("hybrid".into(), Arc::new(client));
    });
    let verifier = verifier();
    for (app, on) in [("hybrid", true), ("consumer", false)] {
        let code = Browser::new(&w).authorize(&authorize(app, &[]), "alice").await["code"].clone();
        let who = [("client_id", app), ("client_secret", SECRET)];
        let mut redeem = vec![("grant_type", "hybrid_auth_code"), ("code", &*code), ("redirect_uri", CALLBACK)];
        redeem.push(("code_verifier", &verifier));
        redeem.extend(who);
        let (status, body) = token(&w, &redeem).await;
        assert_eq!(status == 200, on, "{app}: {body}");
        if on {
            let mut again = vec![("grant_type", "hybrid_refresh"), ("refresh_token", text(&body, "refresh_token"))];
            again.extend(who);
            let (status, body) = token(&w, &again).await;
            assert!(status == 200 && opens(&w, &body["access_token"]), "{body}");
            assert_eq!(w.post("/oauth2/token", None, &again).await.status(), 400, "a name of these paths alone");
        } else {
            assert_eq!(body["error"], "unsupported_grant_type");
        }
        let asked = [("response_type", "hybrid_token"), ("code_challenge", "")];
        let fields = Browser::new(&w).authorize(&authorize(app, &asked), "alice").await;
        assert_eq!(fields.contains_key("access_token"), on, "{app}: {fields:?}");
        assert_eq!(fields.get("error").is_some_and(|e| e == "unsupported_response_type"), !on, "{app}");
    }
}

#[tokio::test]
async fn s15_a_person_is_asked_for_everything_in_one_line_and_a_refresh_token_has_two_names() {
    let w = world().await;
    w.reload(|policy| {
        let mut client = connected("everything");
        client.scopes = ScopeSet::of(&["full", "refresh_token"]);
        let client = policy.widened(client);
        policy.clients.insert("everything".into(), Arc::new(client));
    });
    for (language, words) in [("en", "Do everything that you may do"), ("de", "Alles tun, was Sie tun dürfen")] {
        let mut b = Browser::new(&w);
        b.headers.push(("accept-language", language.to_owned()));
        let page = b.visit(&authorize("everything", &[("scope", "full offline_access")])).await;
        let page = b.sign_in(&page, "alice").await;
        let asked: Vec<&str> = page.body.split("<li>").skip(1).map(|li| li.split('<').next().unwrap()).collect();
        assert!(asked.len() == 2 && asked[0] == words, "{asked:?}");
    }
    let body = signed_in(&w, "everything", &[("scope", "full offline_access")]).await;
    let scope = text(&body, "scope");
    assert!(scope.contains("chatter_api") && scope.contains("refresh_token") && !scope.contains("offline"), "{scope}");
    // A refresh may ask for a part of it, by either name, and never for more.
    let refresh = |scope: &'static str| {
        let (w, token) = (&w, text(&body, "refresh_token"));
        async move {
            let who = [("client_id", "everything"), ("client_secret", SECRET), ("grant_type", "refresh_token")];
            self::token(w, &[&who[..], &[("refresh_token", token), ("scope", scope)]].concat()).await.1
        }
    };
    assert_eq!(refresh("unknown").await["error"], "invalid_scope");
    assert_eq!(refresh("api offline_access").await["scope"], "api refresh_token");
    // Whoever said yes to a part is asked again for the whole.
    let narrow = signed_in(&w, "everything", &[("scope", "api"), ("prompt", "consent")]).await;
    assert_eq!(narrow["scope"], "api");
}

#[tokio::test]
async fn signature_by_a_named_secret_where_the_request_carries_none() {
    let w = world().await;
    for (client, signs) in [("named", true), ("consumer", false)] {
        let request = authorize(client, &[("response_type", "token"), ("code_challenge", "")]);
        let fields = Browser::new(&w).authorize(&request, "alice").await;
        assert_eq!(fields.contains_key("signature"), signs, "{client}");
    }
}

#[tokio::test]
async fn s46_s48_introspection_in_salesforces_words() {
    let w = world().await;
    let body = signed_in(&w, "consumer", &[]).await;
    let fields = [("token", text(&body, "access_token")), ("client_id", "consumer"), ("client_secret", SECRET)];
    let seen = read(&w.post("/services/oauth2/introspect", None, &fields).await);
    assert_eq!(
        (&seen["active"], &seen["token_type"], &seen["username"]),
        (&json!(true), &json!("access_token"), &json!("alice"))
    );
    assert!(seen.get("aud").is_none());
    let other = read(&w.post("/services/oauth2/introspect", Some("lenient"), &fields[..1]).await);
    assert_eq!(other, json!({"active": false}), "S46");
}

#[tokio::test]
async fn off_without_its_table() {
    let w = people::world().await;
    for path in ["/services/oauth2/token", "/id/keys", "/services/oauth2/authorize"] {
        assert!(!w.provider.owns(path), "{path}");
        assert_eq!(send(&w, Request::get(path), "").await.status(), 404, "{path}");
    }
}
