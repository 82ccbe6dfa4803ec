//! Identity URL and userinfo.
use super::*;

async fn get(w: &World, target: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::get(target.strip_prefix(INSTANCE).unwrap_or(target));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = send(w, request, "").await;
    (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

#[tokio::test]
async fn s60_identity_is_told_to_the_bearer_and_query_tokens_are_off_by_default() {
    let w = world().await;
    let body = signed_in(&w, "consumer", &[("scope", "api id refresh_token")]).await;
    let (token, id) = (text(&body, "access_token"), text(&body, "id"));
    let (status, told) = get(&w, id, Some(token)).await;
    assert_eq!(status, 200, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    insta::assert_json_snapshot!("identity", told);
    let (status, info) = get(&w, "/services/oauth2/userinfo", Some(token)).await;
    assert_eq!(status, 200, "{info}");
    insta::assert_json_snapshot!("userinfo_of_salesforce", serde_json::from_str::<Value>(&info).unwrap());
    // jsforce sends both.
    let both = format!("{id}?format=json&oauth_token={token}");
    assert_eq!(get(&w, &both, Some(token)).await.0, 200);
    assert_eq!(get(&w, &both, None).await, (403, "Bad_OAuth_Token".to_owned()), "S60 off by default");
    assert_eq!(get(&w, &both, Some("another")).await.0, 403, "one token");
    let lenient = signed_in(&w, "lenient", &[]).await;
    for name in ["oauth_token", "access_token"] {
        let target = format!("{}?{name}={}", text(&lenient, "id"), text(&lenient, "access_token"));
        assert_eq!(get(&w, &target, None).await.0, 200);
        let target = format!("/services/oauth2/userinfo?{name}={}", text(&lenient, "access_token"));
        assert_eq!(get(&w, &target, None).await.0, 200);
        let target = format!("/oauth2/userinfo?{name}={}", text(&lenient, "access_token"));
        assert_eq!(get(&w, &target, None).await.0, 401, "S60 the standard path never");
    }
    let form = format!("access_token={}", text(&lenient, "access_token"));
    let posted = Request::post("/services/oauth2/userinfo").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(&w, posted, &form).await.status(), 200);
}

#[tokio::test]
async fn custom_attributes_permissions_time_zone_and_last_change_are_told_at_the_identity_url() {
    let w = world().await;
    w.reload(|policy| {
        let mut client = (*policy.clients["consumer"]).clone();
        client.scopes = ScopeSet::of(&["api", "id", "custom_permissions", "refresh_token"]);
        client.policies.custom_attributes =
            [("desk".to_owned(), portcullis::model::Attribute::OfUser("desk".to_owned()))].into();
        client.policies.custom_permissions =
            [("Sell", "sales"), ("Fire", "management")].map(|(n, p)| (n.to_owned(), [p.to_owned()].into())).into();
        policy.clients.insert("consumer".into(), Arc::new(client));
        let mut alice = (*policy.users["alice"]).clone();
        alice.profile.attributes.insert("desk".to_owned(), "4711".to_owned());
        alice.profile.zoneinfo = Some("America/Los_Angeles".to_owned());
        alice.profile.updated_at = Some(portcullis::clock::Timestamp(1_700_000_000));
        policy.users.insert("alice".into(), Arc::new(alice));
    });
    for (scope, permissions) in
        [("api id refresh_token custom_permissions", json!({"Sell": true})), ("api id refresh_token", json!({}))]
    {
        let body = signed_in(&w, "consumer", &[("scope", scope)]).await;
        let told: Value =
            serde_json::from_str(&get(&w, text(&body, "id"), Some(text(&body, "access_token"))).await.1).unwrap();
        assert_eq!((&told["custom_attributes"], &told["custom_permissions"]), (&json!({"desk": "4711"}), &permissions));
        assert_eq!((&told["utcOffset"], &told["timezone"]), (&json!(-28_800_000), &json!("America/Los_Angeles")));
        assert_eq!(told["last_modified_date"], "2023-11-14T22:13:20.000+0000");
    }
}

#[tokio::test]
async fn who_may_not_know_is_told_in_a_word() {
    let w = world().await;
    let body = signed_in(&w, "consumer", &[]).await;
    let (token, id) = (text(&body, "access_token"), text(&body, "id"));
    let cases = [
        (id.to_owned(), None, "Missing_OAuth_Token"),
        (id.to_owned(), Some("nonsense"), "Bad_OAuth_Token"),
        ("/services/oauth2/userinfo".to_owned(), Some("nonsense"), "Bad_OAuth_Token"),
        (id.replace("00D000000000062EAA", "00D000000000063EAA"), Some(token), "Wrong_Org"),
        (id.replace("/005", "/006"), Some(token), "No_Access"),
    ];
    for (target, token, word) in cases {
        assert_eq!(get(&w, &target, token).await, (403, word.to_owned()), "{target}");
    }
    let short = id.replace("EAA/", "/");
    assert_eq!(get(&w, &short[..short.len() - 3], Some(token)).await.0, 200, "15 characters name it too");
    w.reload(|policy| {
        let mut alice = (*policy.users["alice"]).clone();
        alice.active = false;
        policy.users.insert("alice".into(), Arc::new(alice));
    });
    assert_eq!(get(&w, id, Some(token)).await.1, "Bad_OAuth_Token");
}

#[tokio::test]
async fn keys_are_those_of_the_standard_path() {
    let w = world().await;
    assert_eq!(get(&w, "/id/keys", None).await, get(&w, "/.well-known/jwks.json", None).await);
}
