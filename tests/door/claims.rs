//! What few tokens say, in every form that a token has: the key it is bound to, who acts, what else ends it.
use super::provider::{read, world};
use portcullis::{
    clock::Clock,
    model::{Actor, Confirmation, Level, MayAct, PublicJwk, SigningAlgorithm, TokenFormat},
    secret::Digest,
    token::{Claims, More, OpenError},
};
use serde_json::json;

fn claims(now: portcullis::clock::Timestamp, more: More) -> Claims {
    Claims {
        iss: "https://id.example".to_owned(),
        sub: "alice".to_owned(),
        client_id: "app".to_owned(),
        aud: "https://api.example".to_owned(),
        scope: "read".to_owned(),
        jti: portcullis::secret::random_id(),
        grant_id: None,
        generation: None,
        auth_time: None,
        iat: now,
        exp: now.plus(600),
        more,
    }
}

#[tokio::test]
async fn key_and_actors_are_there_in_every_form_and_in_introspection_and_a_tie_ends_them_all() {
    let w = world().await;
    let now = w.clock.now();
    let key = PublicJwk::Okp { crv: "Ed25519".to_owned(), x: "AAAA".to_owned() };
    let actor = |sub: &str, act| Actor { sub: sub.to_owned(), iss: None, client_id: None, act };
    let more = More {
        cnf: Some(Confirmation::of_key(Digest::of(b"key"))),
        act: Some(actor("second", Some(Box::new(actor("first", None))))),
        may_act: Some(MayAct { sub: Some("third".to_owned()), ..MayAct::default() }),
        exchanged_from: Some("portal".to_owned()),
        asset: None,
        tied_to: vec!["authorization/of-alice".to_owned(), "token/of-alice".to_owned()],
        acr: More::acr_of(Level::HighAssurance),
        brought_by: None,
    };
    let claims = claims(now, more.clone());
    let tokens = [
        w.tokens.mint(&claims, TokenFormat::Opaque, SigningAlgorithm::Es256).await.unwrap(),
        w.tokens.mint(&claims, TokenFormat::Jwt, SigningAlgorithm::Es256).await.unwrap(),
        w.tokens.mint_for_organization(&claims, "00D000000000062"),
    ];
    for token in &tokens {
        let opened = w.tokens.open(token, now).unwrap();
        let special = opened.special.as_ref().unwrap();
        assert_eq!((&special.more, special.key), (&more, Some(Digest::of(b"key"))), "{token}");
        let told = read(&w.post("/oauth2/introspect", Some("app"), &[("token", token)]).await);
        assert_eq!(told["token_type"], "DPoP");
        assert_eq!(told["act"], json!({"sub": "second", "act": {"sub": "first"}}), "S41");
        assert_eq!(told["may_act"], json!({"sub": "third"}));
        assert_eq!(told["cnf"], json!({"jkt": Digest::text("key")}));
    }
    let of_device = More { cnf: Some(Confirmation { jwk: Some(key.clone()), ..Confirmation::default() }), ..more };
    let of_device = Claims { more: of_device, aud: "https://a.example https://b.example".to_owned(), ..claims };
    let jwt = w.tokens.mint(&of_device, TokenFormat::Jwt, SigningAlgorithm::Es256).await.unwrap();
    let opened = w.tokens.open(&jwt, now).unwrap();
    assert_eq!(opened.special.as_ref().unwrap().key, Some(key.thumbprint()));
    let said = w.tokens.verify_claims("at+jwt", &jwt, now).unwrap();
    assert_eq!(said["aud"], json!(["https://a.example", "https://b.example"]));
    assert_eq!(said["cnf"], json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}}));
    w.tokens.end_all("authorization/of-alice", 600, now).await.unwrap();
    for token in &tokens {
        assert_eq!(w.tokens.open(token, now).err(), Some(OpenError::Revoked), "tied to it");
    }
}

#[tokio::test]
async fn a_token_that_says_nothing_of_it_is_not_a_byte_longer() {
    let w = world().await;
    let plain = w
        .tokens
        .mint(&claims(w.clock.now(), More::default()), TokenFormat::Opaque, SigningAlgorithm::Es256)
        .await
        .unwrap();
    let bound = More { cnf: Some(Confirmation::of_key(Digest::of(b"key"))), ..More::default() };
    let bound =
        w.tokens.mint(&claims(w.clock.now(), bound), TokenFormat::Opaque, SigningAlgorithm::Es256).await.unwrap();
    assert!(w.tokens.open(&plain, w.clock.now()).unwrap().special.is_none());
    let said = format!(r#"{{"cnf":{{"jkt":"{}"}}}}"#, Digest::text("key"));
    let longer = bound.len() - plain.len();
    assert!(longer.abs_diff(said.len().div_ceil(3) * 4) <= 4, "{longer}");
}
