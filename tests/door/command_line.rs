//! The command line.
use super::process::{Gate, PROGRAM, text, until};
use portcullis::secret::Digest;
use std::{fs, process::Command};

#[test]
fn the_demo_plays_and_every_answer_is_right() {
    let run = Command::new(PROGRAM).arg("demo").output().unwrap();
    assert!(run.status.success(), "{}{}", text(&run.stdout), text(&run.stderr));
    for told in ["Every answer was the right one.", "connection.logout(true): nothing renews it any more"] {
        assert!(text(&run.stdout).contains(told), "{told}");
    }
}

#[test]
fn check_names_every_mistake_with_file_line_and_key() {
    let mut gate = Gate::prepare();
    let fresh = gate.command(&["check"], "");
    assert!(!fresh.status.success() && text(&fresh.stderr).contains("chain_file"), "certificates are missing yet");
    gate.run();
    assert!(gate.command(&["check"], "").status.success());
    gate.edit("conf/users.toml", "permissions", "permisions");
    gate.edit("conf/apps/orders-robot.toml", "jwt-bearer", "jwt-barer");
    gate.edit(
        "conf/apps/portal.toml",
        "/oauth2/callback\"]",
        "/oauth2/callback#here\", \"http://app.example/callback\"]",
    );
    gate.edit("conf/portcullis.toml", "path = \"/status\"", "path = \"/sta*tus\"");
    gate.edit("conf/portcullis.toml", "upstream.addresses = [\"127.0.0.1:", "upstream.addresses = [\"127.0.0.1:1:");
    let told = text(&gate.command(&["check"], "").stderr);
    for mistake in [
        "users.toml:7: permisions: unknown field",
        "orders-robot.toml:6: grants: urn:ietf:params:oauth:grant-type:jwt-barer is unknown",
        // S3
        "redirect_uris: absolute URIs without fragment: https, http on a loopback address",
        "portcullis.toml:",
        "path: ",
        "addresses: one or more of host:port",
    ] {
        assert!(told.contains(mistake), "{mistake} in {told}");
    }
    let gate = Gate::start();
    let config = fs::read_to_string(gate.config()).unwrap();
    let brand = "[brand]\ncolour = \"#ffe000\"\ncolour_dark = \"#1d4ed8\"\n";
    fs::write(gate.config(), config + brand).unwrap();
    let brand = gate.command(&["check"], "");
    assert!(brand.status.success(), "{}", text(&brand.stderr));
    for warning in
        ["brand: colour #ffe000 has a contrast of 1.3 to #ffffff", "brand: colour_dark #1d4ed8 has a contrast of 2.4"]
    {
        assert!(text(&brand.stderr).contains(&format!("warning: {warning}")), "{}", text(&brand.stderr));
    }
    assert!(!text(&brand.stderr).contains("origin"), "{}", text(&brand.stderr));
    gate.edit("conf/portcullis.toml", "dev = true", "dev = false");
    let told = text(&gate.command(&["check"], "").stderr);
    assert!(told.contains("a script of a web app on the issuer's own origin"), "{told}");
    gate.edit("conf/portcullis.toml", "app = \"portal\"", "app = \"orders-robot\"");
    let told = text(&gate.command(&["check"], "").stderr);
    assert!(told.contains("app: orders-robot is no app with the grant authorization_code"), "{told}");
    let routes =
        "[[route]]\nname = \"twin\"\npath = \"/status\"\npublic = true\nupstream.addresses = [\"127.0.0.1:1\"]\n";
    let gate = Gate::prepare();
    let config = fs::read_to_string(gate.config()).unwrap();
    let line = config.lines().count();
    let other = |name: &str, path: &str| routes.replace("twin", name).replace("/status", path);
    let salesforce = "[salesforce]\norganization = \"00D000000000062EAA\"\n";
    let more = [
        routes.to_owned(),
        other("third", "/status"),
        other("own", "/oauth2/*"),
        other("known", "/.well-known/jwks.json"),
        other("second", "/id/{organization}"),
        other("free", "/services/*"),
        other("slashes", "/a//b"),
        other("escaped", "/a/%2e%2e/b"),
        other("spelt", "/caf%c3%a9"),
        other("fewer", "/fewer").replace("public", "methods = [\"GET\"]\nmethod.PUT.public = true\npublic"),
        other("foreign", "/foreign").replace("path", "host = \"caf\u{e9}.example\"\npath"),
        salesforce.to_owned(),
    ];
    fs::write(gate.config(), config + &more.concat()).unwrap();
    let told = text(&gate.command(&["check"], "").stderr);
    for (line, mistake) in [
        (line + 8, "path: third can never match: it is left nothing by twin"),
        (line + 13, "path: own can never match: the gateway answers"),
        (line + 18, "path: known can never match: the gateway answers"),
        (line + 23, "path: second can never match: the gateway answers"),
        (line + 33, "path: no request has such a path"),
        (line + 38, "path: no request has such a path"),
        (line + 43, "path: /caf%C3%A9 is how it is written plainly"),
        (line + 50, "method.PUT: the route does not take PUT: add it to methods"),
        (line + 55, "host: a host name without port, in ASCII"),
    ] {
        assert!(told.contains(&format!("portcullis.toml:{line}: {mistake}")), "{line} {mistake} in {told}");
    }
    assert!(!told.contains("free can never") && !told.contains("twin can never"), "{told}");
}

#[test]
fn schema_completions_and_help_are_printed() {
    for file in ["main", "app", "users"] {
        let out = Command::new(PROGRAM).args(["schema", file]).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{file}");
    }
    assert!(text(&Command::new(PROGRAM).args(["completions", "bash"]).output().unwrap().stdout).contains("portcullis"));
    assert!(text(&Command::new(PROGRAM).arg("--help").output().unwrap().stdout).contains("SIGHUP"));
}

#[test]
fn s22_a_new_secret_has_256_bits_and_the_file_holds_its_digest_alone() {
    let mut gate = Gate::prepare();
    let out = text(&gate.command(&["apps", "new-secret"], "").stdout);
    let secret = out.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(secret.len(), 43, "256 bits in base64url");
    let digest = Digest::parse(out.split('"').nth(1).unwrap()).unwrap();
    assert!(digest.matches(secret.as_bytes()));
    let app = format!(
        "client_id = \"batch\"\nauth = \"client_secret\"\nsecrets = [\"sha256:{}\"]\ngrants = [\"client_credentials\"]\n\
         scopes = [\"orders:read\"]\napproval = \"self\"\nrun_as = \"robot\"\naudience = \"{}\"\n",
        digest.hex(),
        gate.issuer()
    );
    fs::write(gate.path("conf/apps/batch.toml"), app).unwrap();
    gate.run();
    let user = format!("batch:{secret}");
    let url = format!("{}/oauth2/token", gate.issuer());
    let body = gate.curl(&["-u", &user, "-d", "grant_type=client_credentials", &url]);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(gate.call(token), 200);
    let inspected = text(&gate.command(&["token", "inspect"], token).stdout);
    assert!(inspected.contains("\"sub\": \"robot\""), "{inspected}");
    for file in ["access.log", "audit.log", "data/portcullis.db", "data/portcullis.db-wal"] {
        let held = fs::read(gate.path(file)).unwrap_or_default();
        assert!(!text(&held).contains(&secret) && !text(&held).contains(token), "{file}");
    }
    assert!(text(&gate.command(&["apps", "list"], "").stdout).contains("batch: batch; scopes orders:read"));
}

#[test]
fn a_self_authorised_app_needs_a_recorded_approval() {
    let mut gate = Gate::prepare();
    gate.edit("conf/apps/orders-robot.toml", "{ admin = [\"sales\"] }", "\"self\"");
    gate.run();
    let (status, body) = gate.exchange("orders:read");
    assert_eq!((status, &body["error_description"]), (400, &"user hasn't approved this consumer".into()));
    let who = ["orders-robot", "alice"];
    assert!(gate.command(&["approvals", "grant", who[0], who[1]], "").status.success());
    assert!(until(|| gate.exchange("orders:read").0 == 200));
    assert!(gate.command(&["approvals", "revoke", who[0], who[1]], "").status.success());
    assert_eq!(gate.exchange("orders:read").0, 400);
    assert!(!gate.command(&["approvals", "grant", "nobody", "alice"], "").status.success());
}

#[test]
fn passwords_are_hashed_and_keys_are_rotated() {
    let gate = Gate::start();
    let hash = text(&gate.command(&["hash-password"], "correct horse\n").stdout);
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let users = fs::read_to_string(gate.path("conf/users.toml")).unwrap();
    let shipped = users.lines().find(|l| l.starts_with("password = ")).unwrap();
    gate.edit("conf/users.toml", shipped, &format!("password = \"{}\"", hash.trim()));
    assert!(gate.command(&["check"], "").status.success());
    assert!(!gate.command(&["hash-password"], "short\n").status.success());
    let old = gate.token();
    assert!(gate.command(&["keys", "rotate"], "").status.success());
    let listed = text(&gate.command(&["keys", "list"], "").stdout);
    assert!(listed.lines().count() == 2 && listed.contains("published") && listed.contains("in use until"), "{listed}");
    assert!(gate.command(&["keys", "rotate", "--publish-before", "0"], "").status.success());
    let listed = text(&gate.command(&["keys", "list"], "").stdout);
    assert!(listed.lines().count() == 2 && listed.contains("retired"), "{listed}");
    let kid = listed.split(' ').next().unwrap().to_owned();
    assert!(until(|| gate.token().contains(&kid)), "the running gateway takes the new key up");
    assert_eq!(gate.call(&old), 200, "and the old one still opens");
    let new = gate.token();
    assert!(gate.command(&["keys", "rotate", "--emergency"], "").status.success());
    assert!(until(|| gate.call(&old) == 401 && gate.call(&new) == 401), "every token of every other key has ended");
    assert_eq!(gate.call(&gate.token()), 200);
}
