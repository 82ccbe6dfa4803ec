//! A signing key that lives elsewhere, as in a KMS: the mint asks for a signature and waits.
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use portcullis::{
    clock::{Clock, ManualClock, Timestamp},
    metrics::Metrics,
    model::{SigningAlgorithm, TokenFormat},
    provider::error::{Code, OAuthError},
    secret,
    store::memory::MemoryStore,
    token::{
        Claims, More, Tokens,
        keys::Keys,
        signer::{PublicKey, Signer, Unsigned},
    },
};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

type Asked = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// Knows the public key; the private one is in another task.
struct Remote {
    public: PublicKey,
    asked: mpsc::Sender<Asked>,
}

#[async_trait::async_trait]
impl Signer for Remote {
    fn key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let gone = || Unsigned("the key's keeper does not answer".to_owned());
        let (done, answer) = oneshot::channel();
        self.asked.send((input.to_vec(), done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

#[tokio::test]
async fn a_key_that_lives_elsewhere_signs_is_published_and_its_silence_is_told() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "kms-1",
        "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
    let (asked, mut questions) = mpsc::channel::<Asked>(1);
    let keeper = tokio::spawn(async move {
        while let Some((input, done)) = questions.recv().await {
            let _ = done.send(pair.sign(&SystemRandom::new(), &input).unwrap().as_ref().to_vec());
        }
    });
    let remote = Remote { public: PublicKey::of(jwk.clone()).unwrap(), asked };
    let (data, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Timestamp(1_000)));
    let keys = Arc::new(Keys::load_or_create(data.path(), &clock).unwrap());
    let tokens = Tokens::new(keys, Arc::new(MemoryStore::default()), 1 << 20, &Metrics::new());
    let tokens = tokens.signing_with(Arc::new(remote));
    tokens.load_revocations(clock.now()).await.unwrap();
    let claims = Claims {
        iss: "https://id.example".to_owned(),
        sub: "alice".to_owned(),
        client_id: "app".to_owned(),
        aud: "https://api.example".to_owned(),
        scope: "read".to_owned(),
        jti: secret::random_id(),
        grant_id: None,
        generation: None,
        auth_time: None,
        iat: clock.now(),
        exp: clock.now().plus(600),
        more: More::default(),
    };
    let mint = |algorithm| tokens.mint(&claims, TokenFormat::Jwt, algorithm);
    let token = mint(SigningAlgorithm::Es256).await.unwrap();
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().kid.as_deref(), Some("kms-1"));
    assert_eq!(&*tokens.open(&token, clock.now()).unwrap().subject, "alice");
    assert!(tokens.jwks()["keys"].as_array().unwrap().contains(&jwk), "published beside the own ones");
    // Other algorithms are signed for by the own keys, and what was signed elsewhere by another key does not open.
    let own = mint(SigningAlgorithm::EdDsa).await.unwrap();
    assert!(jsonwebtoken::decode_header(&own).unwrap().kid.unwrap().ends_with(".EdDSA"));
    assert!(tokens.open(&own, clock.now()).is_ok());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (_, other) = own.rsplit_once('.').unwrap();
    assert!(signature != other && tokens.open(&format!("{head}.{other}"), clock.now()).is_err());
    // It may fall silent: nothing is signed, and the answer is that the service cannot now (503).
    keeper.abort();
    let _ = keeper.await;
    let unsigned = mint(SigningAlgorithm::Es256).await.unwrap_err();
    let answer = OAuthError::from(unsigned);
    assert!(answer.code == Code::TemporarilyUnavailable && answer.detail.contains("does not answer"));
}
