//! One table: situation × profile → status, error, description.
use super::*;
use portcullis::{
    gateway::{denial::Told, guard::Denial},
    model::{Approval, Network, Ranges},
    policy::route::ErrorStyle,
};

const SAML: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";

/// Every error of the reference: `error`, `error_description` where it says one.
const REFERENCE: [(&str, &str); 25] = [
    ("invalid_grant", "user hasn't approved this consumer"),
    ("invalid_grant", "expired access/refresh token"),
    ("invalid_grant", "expired authorization code"),
    ("invalid_grant", "authentication failure"),
    ("invalid_grant", "audience is invalid"),
    ("invalid_grant", "ip restricted"),
    ("invalid_grant", "no client credentials user enabled"),
    ("invalid_app_access", "user is not admin approved to access this app"),
    ("OAUTH_APP_ACCESS_DENIED", "user is not admin approved to access this app"),
    ("OAUTH_APP_BLOCKED", "this app is blocked by admin"),
    ("invalid_client_id", "client identifier invalid"),
    ("invalid_client", "invalid client credentials"),
    ("redirect_uri_mismatch", "redirect_uri must match configuration"),
    ("unsupported_grant_type", ""),
    ("invalid_request", "missing required code challenge"),
    ("redirect_uri_missing", ""),
    ("unsupported_response_type", ""),
    ("invalid_scope", ""),
    ("inactive_user", ""),
    ("rate_limit_exceeded", ""),
    ("immediate_unsuccessful", ""),
    ("access_denied", ""),
    ("authorization_pending", ""),
    ("slow_down", ""),
    ("expired_token", ""),
];

/// Every flow of the reference, and the test that plays it in Salesforce's form. Code and credentials is not offered, and
/// its response type is refused like every other that is unknown.
const FLOWS: [(&str, &str); 14] = [
    ("web server", "s4_web_server_flow_with_a_long_verifier_and_a_challenge_without_method"),
    ("user-agent", "s13_user_agent_flow_hands_a_refresh_token_to_a_program_and_to_our_page_alone"),
    ("hybrid", "the_hybrid_flow_s_names_are_those_of_the_plain_flows_where_the_app_has_the_switch"),
    ("refresh", "s27_s28_s49_refresh_ignores_a_stray_verifier_and_revocation_needs_the_token_alone"),
    ("JWT bearer", "s36_s37_jwt_bearer_takes_what_these_clients_sign_and_takes_it_once"),
    ("SAML bearer", "s40_s52_on_the_salesforce_paths_both_flows_answer_in_its_form_and_take_its_token_url"),
    ("SAML assertion", "s40_s52_on_the_salesforce_paths_both_flows_answer_in_its_form_and_take_its_token_url"),
    ("device", "s43_s44_device_flow_in_salesforces_form"),
    ("client credentials", "s36_s37_s59_simple_salesforce_of_pypi_logs_in_and_comes_back_by_itself"),
    ("username-password", "s20_s59_username_password_is_off_by_default_and_guessed_at_no_faster_than_elsewhere"),
    ("SOAP login", "s59_s64_soap_login_and_logout"),
    ("asset token", "both_wire_shapes_and_a_token_without_a_device"),
    ("token exchange", "each_profile_has_its_own_errors_to_the_letter"),
    ("code and credentials", "s2_each_profile_has_its_own_errors_to_the_letter"),
];

/// Every endpoint of the reference beside those of the flows.
const ENDPOINTS: [(&str, &str); 7] = [
    ("/revoke", "s27_s28_s49_refresh_ignores_a_stray_verifier_and_revocation_needs_the_token_alone"),
    ("/introspect", "s46_s48_introspection_in_salesforces_words"),
    ("/userinfo", "s60_identity_is_told_to_the_bearer_and_query_tokens_are_off_by_default"),
    ("/id/{org}/{user}", "s60_identity_is_told_to_the_bearer_and_query_tokens_are_off_by_default"),
    ("/id/keys", "keys_are_those_of_the_standard_path"),
    ("/register", "s21_full_stands_for_all_but_a_refresh_token_along_the_salesforce_paths_alone"),
    ("/singleaccess", "s54_s55_s56_single_access_is_off_unless_allowed_good_once_and_leads_to_own_paths_alone"),
];

/// Every trap that breaks real clients, by its number.
const TRAPS: [(&str, &str); 14] = [
    ("1 a challenge without method", "s4_web_server_flow_with_a_long_verifier_and_a_challenge_without_method"),
    ("2 long and stray verifiers", "s27_s28_s49_refresh_ignores_a_stray_verifier_and_revocation_needs_the_token_alone"),
    ("3 form, multipart, query", "s16_s17_parameters_come_as_form_multipart_or_where_allowed_in_the_query"),
    ("4 claims of assertions", "s36_s37_jwt_bearer_takes_what_these_clients_sign_and_takes_it_once"),
    ("5 signature", "signature_by_a_named_secret_where_the_request_carries_none"),
    ("6 identity URL", "s60_identity_is_told_to_the_bearer_and_query_tokens_are_off_by_default"),
    ("7 instance_url without slash", "every_mistake_is_told_with_its_line_and_key"),
    ("8 tokens in the address", "s60_identity_is_told_to_the_bearer_and_query_tokens_are_off_by_default"),
    ("9 INVALID_SESSION_ID", "s4_s28_s37_s49_s59_jsforce_of_npm_works_once_it_is_pointed_here"),
    ("10 shape of opaque tokens", "what_sf_keeps_in_its_urls_has_the_characters_that_they_allow"),
    ("11 sf's own app", "what_sf_keeps_in_its_urls_has_the_characters_that_they_allow"),
    ("12 rotation is a policy", "s27_to_s31_f5_refresh_tokens_rotate_recover_once_and_a_replay_ends_the_family"),
    (
        "13 what openid-client insists on",
        "s4_s9_s17_s19_s23_s28_s37_s43_s46_s49_openid_client_of_npm_speaks_every_flow",
    ),
    ("14 Basic beside a form", "s16_s17_parameters_come_as_form_multipart_or_where_allowed_in_the_query"),
];

#[test]
fn every_row_of_the_reference_has_a_test_that_plays_it() {
    let sources = crate::policies::sources();
    for (row, test) in FLOWS.iter().chain(&ENDPOINTS).chain(&TRAPS) {
        assert!(sources.contains(&format!("fn {test}()")), "{row}: {test} is no test");
    }
}

/// Apps and users whom something is the matter with.
fn troubled(policy: &mut Policy) {
    let mut add = |id: &str, change: fn(&mut Client)| {
        let mut client = connected(id);
        change(&mut client);
        policy.clients.insert(id.into(), Arc::new(client));
    };
    add("barred", |c| c.blocked = true);
    add("shut", |c| {
        c.blocked = true;
        c.grants.remove(people::DEVICE);
    });
    add("handless", |c| c.grants.retain(|grant| grant != people::DEVICE));
    add("alone", |c| c.run_as = None);
    add("console", |c| {
        c.grants.insert("password".to_owned());
        c.grants.insert(SAML.to_owned());
    });
    // Whoever asks in these tests comes from nowhere that is known.
    add("fenced", |c| {
        let ranges = Some(Ranges::parse(&["10.0.0.0/8"]).unwrap());
        c.policies.network = Network { ranges, ..Network::default() };
    });
    let mut asking = (*policy.clients["app"]).clone();
    (asking.id, asking.approval) = ("asking".into(), Approval::SelfAuthorized);
    policy.clients.insert("asking".into(), Arc::new(asking));
    let mut gone = (*policy.users["alice"]).clone();
    (gone.username, gone.active) = ("carol".into(), false);
    policy.users.insert("carol".into(), Arc::new(gone));
}

#[tokio::test]
async fn s2_each_profile_has_its_own_errors_to_the_letter() {
    let w = world().await;
    w.reload(troubled);
    let mut b = Browser::new(&w);
    let used = b.authorize(&authorize("platform", &[]), "alice").await["code"].clone();
    let late = b.authorize(&authorize("platform", &[]), "alice").await["code"].clone();
    let fresh = b.authorize(&authorize("platform", &[]), "alice").await["code"].clone();
    let verifier = verifier();
    let redeem = |code| {
        vec![
            ("grant_type", "authorization_code"),
            ("client_id", "platform"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", verifier.as_str()),
        ]
    };
    assert_eq!(token(&w, &redeem(&used)).await.0, 200);
    let without = |code, name: &str| redeem(code).into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let with = |code, name: &'static str, value| {
        let mut all = without(code, name);
        all.push((name, value));
        all
    };
    let now = w.clock.now().0;
    let assertion = |more: Value| {
        let mut claims = json!({"iss": "app", "sub": "alice", "aud": "https://id.example", "exp": now + 200});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        w.signed(&claims)
    };
    let (unapproved, foreign) = (assertion(json!({"sub": "bob"})), assertion(json!({"aud": "https://other.example"})));
    let (unasked, inactive) = (assertion(json!({"iss": "asking"})), assertion(json!({"sub": "carol"})));
    let console = [("client_id", "console"), ("client_secret", SECRET)];
    let person = |password| {
        let all = [("grant_type", "password"), ("username", "alice"), ("password", password)];
        console.into_iter().chain(all).collect::<Vec<_>>()
    };
    let platform = ("client_id", "platform");
    let posts = [
        ("no grant_type", vec![platform]),
        ("unknown grant_type", vec![platform, ("grant_type", "magic")]),
        ("unknown client", vec![("client_id", "nobody"), ("client_secret", "x"), ("grant_type", "client_credentials")]),
        ("wrong secret", vec![("client_id", "consumer"), ("client_secret", "x"), ("grant_type", "client_credentials")]),
        ("no secret", vec![("client_id", "consumer"), ("grant_type", "client_credentials")]),
        ("blocked app", vec![("client_id", "barred"), ("client_secret", SECRET), ("grant_type", "client_credentials")]),
        (
            "no run-as user",
            vec![("client_id", "alone"), ("client_secret", SECRET), ("grant_type", "client_credentials")],
        ),
        (
            "grant not allowed",
            vec![
                ("client_id", "app"),
                ("client_secret", SECRET),
                ("grant_type", "refresh_token"),
                ("refresh_token", "x"),
            ],
        ),
        (
            "scope too wide",
            vec![
                ("client_id", "consumer"),
                ("client_secret", SECRET),
                ("grant_type", "client_credentials"),
                ("scope", "admin"),
            ],
        ),
        ("unknown code", redeem("x")),
        ("code used before", redeem(&used)),
        ("wrong verifier", with(&fresh, "code_verifier", "w")),
        ("no verifier", without(&fresh, "code_verifier")),
        ("wrong redirect_uri", with(&fresh, "redirect_uri", "https://app.example/other")),
        ("no redirect_uri", without(&fresh, "redirect_uri")),
        ("expired refresh token", vec![platform, ("grant_type", "refresh_token"), ("refresh_token", "x")]),
        ("not admin approved", vec![("grant_type", BEARER), ("assertion", &unapproved)]),
        ("foreign audience", vec![("grant_type", BEARER), ("assertion", &foreign)]),
        ("no assertion", vec![("grant_type", BEARER), ("assertion", "x")]),
        ("not approved", vec![("grant_type", BEARER), ("assertion", &unasked)]),
        ("inactive user", vec![("grant_type", BEARER), ("assertion", &inactive)]),
        (
            "address outside",
            vec![("client_id", "fenced"), ("client_secret", SECRET), ("grant_type", "client_credentials")],
        ),
        ("wrong password", person("wrong")),
        ("SAML bearer, no assertion", vec![console[0], console[1], ("grant_type", SAML), ("assertion", "x")]),
        ("SAML assertion, off", vec![("grant_type", "assertion"), ("assertion", "x")]),
        ("unknown device code", vec![platform, ("grant_type", people::DEVICE), ("device_code", "x")]),
    ];
    let mut table = Vec::new();
    let line = |situation: &str, profile: &str, status: u16, body: &Value| {
        let field = |what: &str| body[what].as_str().unwrap_or("–").to_owned();
        format!("{situation} | {profile} | {status} {}: {}", field("error"), field("error_description"))
    };
    for (situation, fields) in posts {
        for (profile, path) in [("standard", "/oauth2/token"), ("salesforce", TOKEN)] {
            let response = w.post(path, None, &fields).await;
            table.push(line(situation, profile, response.status().as_u16(), &read(&response)));
        }
    }
    for _ in 0..w.policy.load().people.limits.account {
        w.post(TOKEN, None, &person("wrong")).await;
    }
    for (profile, path) in [("standard", "/oauth2/token"), ("salesforce", TOKEN)] {
        let response = w.post(path, None, &person(people::PASSWORD)).await;
        table.push(line("too many guesses", profile, response.status().as_u16(), &read(&response)));
    }
    w.clock.advance(60);
    for (profile, path) in [("standard", "/oauth2/token"), ("salesforce", TOKEN)] {
        // 171 characters are too long there.
        let response = w.post(path, None, &redeem(&late)).await;
        table.push(line("expired authorization code", profile, response.status().as_u16(), &read(&response)));
    }
    let redirects = [
        ("unsupported response_type", authorize("consumer", &[("response_type", "hybrid_token")])),
        ("code and credentials", authorize("consumer", &[("response_type", "code_credentials")])),
        ("no challenge", authorize("platform", &[("code_challenge", "")])),
        ("not admin approved", authorize("admin", &[])),
        ("blocked app", authorize("barred", &[])),
        ("unknown client", authorize("nobody", &[])),
        ("scope too wide", authorize("consumer", &[("scope", "admin")])),
        ("address outside", authorize("fenced", &[])),
        ("nobody signed in and no page allowed", authorize("consumer", &[("prompt", "none")])),
        ("no redirect_uri", authorize("platform", &[("redirect_uri", "")])),
        ("wrong redirect_uri", authorize("consumer", &[("redirect_uri", "https://evil.example/cb")])),
    ];
    for (situation, target) in redirects {
        for (profile, target) in [
            ("standard", format!("{}&code_challenge_method=S256", target.replace("/services/oauth2/", "/oauth2/"))),
            ("salesforce", target),
        ] {
            let mut b = Browser::new(&w);
            let page = b.visit(&target).await;
            let shown = if page.body.contains("name=\"password\"") { b.sign_in(&page, "bob").await } else { page };
            let told = if shown.to.starts_with(CALLBACK) {
                let fields = answer(&shown);
                let field = |name: &str| fields.get(name).cloned().unwrap_or_else(|| "–".to_owned());
                format!("redirect {}: {}", field("error"), field("error_description"))
            } else {
                let detail = shown.body.split("<code>").nth(1).and_then(|rest| rest.split('<').next());
                assert!(!shown.body.contains("evil.example"), "S2");
                format!("page {} {}", shown.status, detail.unwrap_or("–"))
            };
            table.push(format!("authorize, {situation} | {profile} | {told}"));
        }
    }
    let platform_id = ("client_id", "platform");
    let starts = [
        ("no secret", vec![("client_id", "consumer")]),
        ("wrong secret", vec![("client_id", "consumer"), ("client_secret", "x")]),
        ("unknown client", vec![("client_id", "nobody")]),
        ("blocked app", vec![("client_id", "barred"), ("client_secret", SECRET)]),
        ("blocked app without the grant", vec![("client_id", "shut"), ("client_secret", SECRET)]),
        ("grant not allowed", vec![("client_id", "handless"), ("client_secret", SECRET)]),
        ("scope too wide", vec![platform_id, ("scope", "admin")]),
    ];
    let devices = [("standard", "/oauth2/device_authorization", "/oauth2/token"), ("salesforce", TOKEN, TOKEN)];
    let begin = async |path: &str, mut fields: Vec<(&'static str, &'static str)>| {
        fields.push(("response_type", "device_code"));
        let response = w.post(path, None, &fields).await;
        (response.status().as_u16(), read(&response))
    };
    for (situation, fields) in starts {
        for (profile, path, _) in devices {
            let (status, body) = begin(path, fields.clone()).await;
            table.push(line(&format!("device, {situation}"), profile, status, &body));
        }
    }
    let mut lost = Vec::new();
    for (profile, begins, polls) in devices {
        let begun = begin(begins, vec![platform_id]).await.1;
        let poll = async || {
            let code = text(&begun, "device_code");
            let fields = [("grant_type", people::DEVICE), platform_id, ("device_code", code)];
            let response = w.post(polls, None, &fields).await;
            (response.status().as_u16(), read(&response))
        };
        for situation in ["nobody has decided", "polls too often", "the person said no"] {
            if situation == "the person said no" {
                let mut b = Browser::new(&w);
                let page = b.visit(&format!("/oauth2/device?user_code={}", text(&begun, "user_code"))).await;
                let page = b.sign_in(&page, "bob").await;
                assert_eq!(b.submit(&page, &[("decision", "deny")]).await.status, 200);
            }
            let (status, body) = poll().await;
            table.push(line(&format!("device, {situation}"), profile, status, &body));
        }
        lost.push((profile, polls, begin(begins, vec![platform_id]).await.1));
    }
    w.clock.advance(600);
    for (profile, polls, begun) in lost {
        let fields = [("grant_type", people::DEVICE), platform_id, ("device_code", text(&begun, "device_code"))];
        let response = w.post(polls, None, &fields).await;
        table.push(line("device, nobody decided in time", profile, response.status().as_u16(), &read(&response)));
    }
    for (situation, endpoint, fields) in [
        ("introspect, no client", "introspect", vec![("token", "x")]),
        (
            "introspect, wrong secret",
            "introspect",
            vec![("token", "x"), ("client_id", "consumer"), ("client_secret", "x")],
        ),
        ("introspect, no token", "introspect", vec![("client_id", "consumer"), ("client_secret", SECRET)]),
        (
            "introspect, unknown token",
            "introspect",
            vec![("token", "x"), ("client_id", "consumer"), ("client_secret", SECRET)],
        ),
        ("revoke, no token", "revoke", vec![platform_id]),
        ("revoke, no client", "revoke", vec![("token", "x")]),
        ("userinfo, no token", "userinfo", vec![("x", "x")]),
        ("userinfo, bad token", "userinfo", vec![("access_token", "x")]),
    ] {
        for (profile, before) in [("standard", "/oauth2/"), ("salesforce", "/services/oauth2/")] {
            let response = w.post(&format!("{before}{endpoint}"), None, &fields).await;
            let (status, body) = (response.status(), String::from_utf8_lossy(response.body()).into_owned());
            table.push(format!(
                "{situation} | {profile} | {} {}",
                status.as_u16(),
                if body.is_empty() { "–" } else { &body }
            ));
        }
    }
    for denial in [
        Denial::Unauthenticated,
        Denial::InvalidRequest,
        Denial::InvalidToken,
        Denial::NotProven,
        Denial::NotBound,
        Denial::InsufficientScope,
        Denial::ClientNotAllowed,
        Denial::OtherToken,
        Denial::IpRestricted,
        Denial::NotFound,
        Denial::MethodNotAllowed,
        Denial::Unavailable,
    ] {
        for (profile, style) in [("standard", ErrorStyle::Oauth), ("salesforce", ErrorStyle::Salesforce)] {
            let response = denial.response(&Told::nothing(style));
            let (status, body) = (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned());
            table.push(format!("gate, {denial:?} | {profile} | {status} {body}"));
        }
    }
    for (error, description) in REFERENCE {
        let told = format!("{error}: {description}");
        let named = |line: &String| line.contains(" | salesforce | ") && line.contains(&told);
        assert!(table.iter().any(named), "{told} is in no line");
    }
    insta::assert_snapshot!("profiles", table.join("\n"));
}
