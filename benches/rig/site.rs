//! A gate to measure: its folder, its certificate, its tokens.
use portcullis::{
    clock::{Clock, SystemClock},
    metrics::Metrics,
    model::{SigningAlgorithm, TokenFormat},
    secret,
    store::memory::MemoryStore,
    token::{Claims, Tokens, keys::Keys},
};
use std::{fs, path::Path, sync::Arc};

/// What it calls itself.
pub const ISSUER: &str = "https://localhost";

/// The gate's configuration with an open and a checked route, and how a client trusts it.
pub fn set_up(folder: &Path, upstream: &str) -> Arc<rustls::ClientConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("c.pem"), made.cert.pem()).expect("written");
    fs::write(folder.join("c.key"), made.signing_key.serialize_pem()).expect("written");
    let main = format!(
        "issuer = \"{ISSUER}\"\n[server]\nlisten = [\"127.0.0.1:1\"]\ndata = \"data\"\ncache_mib = 256\n\
         [[certificate]]\nhosts = [\"localhost\"]\nchain_file = \"c.pem\"\nkey_file = \"c.key\"\n\
         [[route]]\nname = \"orders\"\npath = \"/orders/*\"\nscopes = [\"orders:read\"]\nupstream.addresses = [\"{upstream}\"]\n\
         [[route]]\nname = \"open\"\npath = \"/open/*\"\npublic = true\nupstream.addresses = [\"{upstream}\"]\n"
    );
    fs::write(folder.join("portcullis.toml"), main).expect("written");
    apps(folder, 1);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("versions").with_root_certificates(roots).with_no_client_auth())
}

/// The same gate once more, in a folder of its own beneath `folder`, with its records in the database at `address` and
/// with the same keys. To be called after tokens were [`minted`].
#[allow(dead_code)] // one benchmark alone has nodes
pub fn on_postgres(folder: &Path, name: &str, address: &str) -> std::path::PathBuf {
    let own = folder.join("nodes").join(name);
    fs::create_dir_all(own.join("data")).expect("made");
    for file in ["c.pem", "c.key", "data/keys.json"] {
        fs::copy(folder.join(file), own.join(file)).expect("copied");
    }
    apps(&own, 1);
    let kek = folder.join("kek");
    if !kek.exists() {
        fs::write(&kek, secret::random_token()).expect("written");
    }
    let tables = format!("[store]\npostgres = \"{address}\"\n[keys]\nencryption_key_file = \"{}\"\n", kek.display());
    let main = fs::read_to_string(folder.join("portcullis.toml")).expect("written before");
    let main = main.replacen("[[certificate]]", &format!("{tables}[[certificate]]"), 1);
    fs::write(own.join("portcullis.toml"), main).expect("written");
    own
}

/// That many apps.
pub fn apps(folder: &Path, count: usize) {
    fs::create_dir_all(folder.join("apps")).expect("made");
    for n in 0..count {
        let app = format!(
            "client_id = \"app{n}\"\nauth = \"client_secret\"\nsecrets = [\"sha256:{}\"]\ngrants = [\"client_credentials\"]\n\
             scopes = [\"orders:read\"]\napproval = \"self\"\nrun_as = \"robot\"\naudience = \"{ISSUER}\"\n",
            "ab".repeat(32)
        );
        fs::write(folder.join(format!("apps/{n}.toml")), app).expect("written");
    }
}

/// That many tokens of the app in its own name, made by the gate's own keys.
pub fn minted(folder: &Path, count: usize, (format, algorithm): (TokenFormat, SigningAlgorithm)) -> Vec<String> {
    let keys = Arc::new(Keys::load_or_create(&folder.join("data"), &SystemClock).expect("keys"));
    let tokens = Tokens::new(keys, Arc::new(MemoryStore::default()), 1 << 20, &Metrics::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mint = |n| {
        let claims = Claims { sub: "robot".to_owned(), ..claims(n) };
        runtime.block_on(tokens.mint(&claims, format, algorithm)).expect("minted")
    };
    (0..count).map(mint).collect()
}

/// What the token of person `n` says.
pub fn claims(n: usize) -> Claims {
    let now = SystemClock.now();
    Claims {
        iss: ISSUER.to_owned(),
        sub: format!("user{n}"),
        client_id: "app0".to_owned(),
        aud: ISSUER.to_owned(),
        scope: "orders:read".to_owned(),
        jti: secret::random_id(),
        grant_id: None,
        generation: None,
        auth_time: None,
        iat: now,
        exp: now.plus(3_600),
        more: Default::default(),
    }
}
