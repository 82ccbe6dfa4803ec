//! What a proxied request costs the gate in memory: allocations, counted.
use crate::provider::world_with;
use http::HeaderMap;
use portcullis::{
    clock::Clock,
    config,
    gateway::{canonical::canonical, guard},
    model::{SigningAlgorithm, TokenFormat},
    policy::route::Table,
    token::Claims,
};

/// Deciding on a request may allocate this often.
const MOST: u64 = 3;

fn routes() -> Table {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("c.pem", &made.cert.pem());
    write("c.key", &made.signing_key.serialize_pem());
    write(
        "portcullis.toml",
        "issuer = \"https://id.example\"\n[server]\nlisten = [\"127.0.0.1:1\"]\ndata = \"data\"\n\
         [[certificate]]\nhosts = [\"localhost\"]\nchain_file = \"c.pem\"\nkey_file = \"c.key\"\n\
         [[route]]\nname = \"orders\"\npath = \"/orders/{id}/lines\"\nresource = \"https://api.example\"\nscopes = [\"read\"]\n\
         upstream.addresses = [\"127.0.0.1:1\"]\n\
         [[route]]\nname = \"open\"\npath = \"/open/*\"\npublic = true\nupstream.addresses = [\"127.0.0.1:1\"]\n",
    );
    config::load(&folder.path().join("portcullis.toml")).unwrap().policy.routes
}

#[tokio::test]
async fn a_checked_request_allocates_three_times_at_most() {
    let world = world_with(|policy| policy.routes = routes()).await;
    let now = world.clock.now();
    let claims = Claims {
        iss: "https://id.example".to_owned(),
        sub: "alice".to_owned(),
        client_id: "app".to_owned(),
        aud: "https://api.example".to_owned(),
        scope: "read write".to_owned(),
        jti: "t".to_owned(),
        grant_id: Some("a".to_owned()),
        generation: None,
        auth_time: None,
        iat: now,
        exp: now.plus(600),
        more: Default::default(),
    };
    let policy = world.policy.load_full();
    let checked = |path: &str, headers: &HeaderMap| {
        let mut allowed = false;
        let counted = allocation_counter::measure(|| {
            let path = canonical(path.as_bytes()).unwrap();
            allowed = guard::check(&policy, &world.tokens, ("localhost", path, "GET"), headers.into(), now).is_ok();
        });
        assert!(allowed);
        counted.count_total
    };
    for format in [TokenFormat::Opaque, TokenFormat::Jwt] {
        let token = world.tokens.mint(&claims, format, SigningAlgorithm::Es256).await.unwrap();
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
        let cold = checked("/orders/7/lines", &headers);
        // Some requests do the cache's housekeeping, as batches: the usual one does none.
        let warm = (0..100).map(|_| checked("/orders/7/lines", &headers)).min().unwrap();
        assert!(warm <= MOST, "{format:?}: {warm}");
        assert!(cold > warm, "{format:?}: opening allocates, so it is counted: {cold}");
    }
    assert!(checked("/open/x", &HeaderMap::new()) <= MOST);
}
