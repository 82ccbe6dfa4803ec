//! The README's commands do what it says.
use super::process::{Gate, PROGRAM, text};
use std::{fs, process::Command};

fn blocks(language: &str) -> Vec<String> {
    blocks_of("README.md", language)
}

fn blocks_of(file: &str, language: &str) -> Vec<String> {
    let readme = fs::read_to_string(file).unwrap();
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_first_token_and_call_work_as_pasted() {
    let gate = Gate::start();
    let paste = blocks("sh").into_iter().find(|b| b.contains("ASSERTION=")).unwrap();
    let shown = gate.command(&["run"], ""); // fails: its ports are taken; but it prints the tour
    for line in paste.lines().filter(|l| !l.starts_with('#')) {
        let here = line.replace("https://localhost:8443", &gate.issuer());
        assert!(text(&shown.stderr).contains(&here), "{here}");
    }
    let script = paste
        .replace("target/release/portcullis", &format!("{PROGRAM} --config conf/portcullis.toml"))
        .replace("https://localhost:8443", &gate.issuer());
    let run = Command::new("bash").args(["-e", "-c", &script]).current_dir(gate.folder.path()).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let told = text(&run.stdout);
    let order = ["\"x-forwarded-user\":\"alice\"", " 403", "insufficient_scope", " 401", "invalid_token"];
    let mut rest = told.as_str();
    for expected in order {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected} in {told}"));
        rest = &rest[at..];
    }
}

/// A browser, as far as a shell is one: prints where an address leads in the end, after alice has signed in.
const SIGN_IN: &str = r#"
leads() {
    to=$(curl -sS -L -D - -o page -b jar -c jar "$@" 2> unreachable | tr -d '\r' | sed -n 's/^[Ll]ocation: \(http:.*callback.*\)/\1/p')
    if [ -n "$to" ]; then echo "$to"; return; fi
    sed 's/&#x2f;/\//g; s/&amp;/\&/g' page > plain
    action=$(grep -o 'action="[^"]*"' plain | head -1 | cut -d'"' -f2); csrf=$(grep -o 'name="csrf" value="[^"]*"' plain | cut -d'"' -f4)
    leads "ISSUER$action" -d "csrf=$csrf" -d username=alice --data-urlencode "password=correct horse battery staple"
}
member() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
"#;

/// The lines of a block, one after the other: what they leave to a person's eyes is taken from the answers before.
fn played(lines: &str) -> String {
    let mut script = String::new();
    for line in lines.lines().filter(|l| !l.starts_with('#')) {
        script += &match line {
            setting if !setting.starts_with("curl ") && !setting.starts_with("echo ") => format!("{setting}\n"),
            browser if browser.starts_with("echo ") => {
                let address = browser.strip_prefix("echo ").unwrap();
                format!(
                    "LED=$(leads {address}); CODE=$(echo \"$LED\" | sed 's/.*[?&]code=\\([^&]*\\).*/\\1/'); echo \"$LED\"\n"
                )
            }
            call => format!(
                "SAID=$({call}); echo \"$SAID\"; case \"$SAID\" in *refresh_token*) REFRESH=$(echo \"$SAID\" | member refresh_token);; esac\n\
                 case \"$SAID\" in *access_token*) TOKEN=$(echo \"$SAID\" | member access_token);; esac\n\
                 case \"$SAID\" in *device_code*) DEVICE=$(echo \"$SAID\" | member device_code);; esac\n"
            ),
        };
    }
    script
}

/// What a script prints that the app `console` is made for first; `expected` stands in it, in this order, and no error
/// behind it.
fn answers_in_order(gate: &Gate, lines: &str, expected: &[&str]) {
    let flows =
        blocks("sh").into_iter().find(|b| b.contains("-u console:$SECRET -d grant_type=client_credentials")).unwrap();
    let setup = flows.split_once("END\n# web server").unwrap().0;
    let reload = format!("curl -sS -X POST http://127.0.0.1:{}/reload", gate.admin);
    let script = format!("{SIGN_IN}\n{setup}END\nRELOAD\n{}", played(lines))
        .replace("target/release/portcullis", &format!("{PROGRAM} --config conf/portcullis.toml"))
        .replace("https://localhost:8443", &gate.issuer())
        .replace("ISSUER", &gate.issuer())
        .replace("RELOAD", &reload);
    let mut bash = Command::new("bash");
    bash.args(["-e", "-c", &script]).env("PASSWORD", "correct horse battery staple");
    let run = bash.current_dir(gate.folder.path()).output().unwrap();
    let told = format!("{}{}", text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{told}");
    let mut rest = told.as_str();
    for expected in expected {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected} in {told}"));
        rest = &rest[at + expected.len()..];
    }
    assert!(!rest.contains("error"), "{rest}");
}

#[test]
fn the_lines_for_programs_written_for_salesforce_work_as_pasted() {
    let mut gate = Gate::prepare();
    let table = blocks("toml").into_iter().find(|sample| sample.contains("[salesforce]")).unwrap();
    let main = fs::read_to_string(gate.config()).unwrap();
    fs::write(gate.config(), format!("{main}\n{}", table.replace("https://localhost:8443", &gate.issuer()))).unwrap();
    gate.run();
    let lines = blocks("sh").into_iter().find(|b| b.contains("/services/oauth2\n")).unwrap();
    let expected = [
        "\"instance_url\":",
        "\"user_code\":",
        "\"signature\":",
        "http://127.0.0.1/callback?code=",
        "\"refresh_token\":",
        "\"access_token\":",
        "\"preferred_username\":\"alice\"",
        "/oauth2/frontdoor?otp=",
    ];
    answers_in_order(&gate, &lines, &expected);
}

#[test]
fn each_flow_s_line_works_as_pasted() {
    let gate = Gate::start();
    let paste =
        blocks("sh").into_iter().find(|b| b.contains("-u console:$SECRET -d grant_type=client_credentials")).unwrap();
    let lines = paste.split_once("END\n# web server").unwrap().1;
    let lines = lines.split_once('\n').unwrap().1;
    fs::write(gate.path("assertion.b64"), "bm8gYXNzZXJ0aW9u").unwrap();
    fs::write(gate.path("response.b64"), "bm8gcmVzcG9uc2U=").unwrap();
    let order = [
        "http://127.0.0.1/callback?code=",
        "\"id_token\":",
        "http://127.0.0.1/callback#access_token=",
        "\"refresh_token\":",
        "\"user_code\":",
        "authorization_pending",
        "\"access_token\":",
        "\"access_token\":",
        "\"access_token\":",
        "the assertion is invalid",
        "unsupported_grant_type",
        "\"issued_token_type\":\"urn:ietf:params:oauth:token-type:access_token\"",
        "\"issued_token_type\":\"urn:ietf:params:oauth:token-type:jwt\"",
        "\"active\":true",
    ];
    answers_in_order(&gate, lines, &order);
}

#[test]
fn every_other_command_exists_and_the_sample_tables_are_accepted() {
    for line in blocks("sh").iter().flat_map(|b| b.lines()) {
        let mut words = line.split_whitespace().take_while(|w| !w.starts_with('#'));
        match words.next() {
            Some("make") => {
                let target = words.next().unwrap();
                assert!(Command::new("make").args(["-n", target]).output().unwrap().status.success(), "{line}");
            }
            Some("portcullis") => {
                let mut command: Vec<&str> = words.collect();
                command.push("--help");
                let out = Command::new(PROGRAM).args(&command).output().unwrap();
                assert!(out.status.success(), "{line}: {}", text(&out.stderr));
            }
            _ => {}
        }
    }
    let gate = Gate::start();
    let [intranet, intranet_app, people, saml, route, app, calendar, salesforce, ..] = &blocks("toml")[..] else {
        panic!("eight samples, and those of other pages' subjects behind them")
    };
    let nodes = &blocks("toml").into_iter().find(|sample| sample.contains("[store]")).unwrap();
    super::saml_config::files(&gate.path("conf"), "saml");
    fs::copy(gate.path("certs/ca.pem"), gate.path("certs/internal.pem")).unwrap();
    let route = route.replace("\"orders\"", "\"sample\"").replace("/orders/*", "/sample/*");
    let main = fs::read_to_string(gate.config()).unwrap();
    for (file, text) in [("db-password", "secret"), ("kek", &*portcullis::secret::random_token())] {
        fs::write(gate.path("conf").join(file), text).unwrap();
    }
    fs::copy(gate.path("certs/ca.pem"), gate.path("conf/db-ca.pem")).unwrap();
    fs::write(gate.config(), [&main, intranet, people, saml, &route, salesforce, nodes].map(String::as_str).join("\n"))
        .unwrap();
    let issuer = ("https://localhost:8443", gate.issuer());
    fs::write(gate.path("conf/apps/intranet.toml"), intranet_app.replace(issuer.0, &issuer.1)).unwrap();
    fs::write(gate.path("conf/apps/calendar.toml"), calendar).unwrap();
    let key = fs::read(gate.path("certs/orders-robot.pub.pem")).unwrap();
    fs::write(gate.path("conf/apps/billing.pem"), key).unwrap();
    let jwks = gate.curl(&[&format!("{}/.well-known/jwks.json", gate.issuer())]);
    fs::write(gate.path("conf/apps/billing.jwks"), jwks).unwrap();
    let app = app.replace("sha256:...", &format!("sha256:{}", "ab".repeat(32)));
    fs::write(gate.path("conf/apps/billing.toml"), app).unwrap();
    let out = gate.command(&["check"], "");
    assert!(out.status.success(), "{}", text(&out.stderr));
    let warned = text(&out.stderr);
    assert!(!warned.contains("intranet") && !warned.contains("portal"), "{warned}");
}

#[test]
fn what_docs_say_of_exchange_and_proofs_works_as_pasted() {
    let mut gate = Gate::prepare();
    fs::copy("conf/apps/dispatch.toml", gate.path("conf/apps/dispatch.toml")).unwrap();
    gate.edit("conf/apps/dispatch.toml", "https://localhost:8443", &gate.issuer());
    gate.run();
    let scripts = blocks_of("docs/how-to/exchange.md", "sh");
    let pasted = |script: &str| {
        let script = script
            .replace("target/release/portcullis", &format!("{PROGRAM} --config conf/portcullis.toml"))
            .replace("https://localhost:8443", &gate.issuer())
            .replace("/tmp/portcullis-holder.key", "holder.key");
        let run = Command::new("bash").args(["-e", "-c", &script]).current_dir(gate.folder.path()).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        text(&run.stdout)
    };
    let seen = pasted(&scripts[0]);
    assert!(
        seen.contains("\"x-forwarded-user\":\"alice\"") && seen.contains("\"x-auth-actor\":\"night-shift\""),
        "{seen}"
    );
    let seen = pasted(&scripts[1]);
    let refused = seen.split_once("\"x-forwarded-user\":\"alice\"").unwrap_or_else(|| panic!("{seen}")).1;
    assert!(refused.contains(" 401") && refused.contains("DPoP realm="), "{seen}");
    for line in scripts[2].lines().filter_map(|l| l.strip_prefix("portcullis ")) {
        let mut command: Vec<&str> = line.split_whitespace().take_while(|w| !w.starts_with(['#', '>', 'I'])).collect();
        command.push("--help");
        assert!(Command::new(PROGRAM).args(&command).output().unwrap().status.success(), "{line}");
    }
    // The sample tables are accepted, all at once.
    let [dispatch, assets, route] = &blocks_of("docs/how-to/exchange.md", "toml")[..] else { panic!("three samples") };
    fs::write(gate.path("conf/apps/dispatch.toml"), dispatch).unwrap();
    let notebook = fs::read_to_string(gate.path("conf/apps/notebook.toml")).unwrap();
    let notebook: Vec<&str> = notebook.lines().filter(|l| !l.starts_with("asset_tokens")).collect();
    fs::write(gate.path("conf/apps/notebook.toml"), format!("{}\n{assets}", notebook.join("\n"))).unwrap();
    let main = fs::read_to_string(gate.config()).unwrap();
    let route = route.replace("telemetry", "sample");
    fs::write(
        gate.config(),
        format!("{main}\n{route}\n[dpop]\nproof_lifetime = 60\nnonce = true\nnonce_lifetime = 300\n"),
    )
    .unwrap();
    let out = gate.command(&["check"], "");
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn s54_a_web_app_behind_the_gate_needs_what_is_shown_and_no_more() {
    let gate = Gate::start();
    let [intranet, app, ..] = &blocks("toml")[..] else { panic!("the route and the app come first") };
    let site = format!("https://intranet.example.com:{}", gate.https);
    let made = rcgen::generate_simple_self_signed(vec!["intranet.example.com".to_owned()]).unwrap();
    fs::write(gate.path("certs/intranet.pem"), made.cert.pem()).unwrap();
    fs::write(gate.path("certs/intranet.key"), made.signing_key.serialize_pem()).unwrap();
    let known = fs::read_to_string(gate.path("certs/ca.pem")).unwrap() + &made.cert.pem();
    fs::write(gate.path("known.pem"), known).unwrap();
    let certificate = "[[certificate]]\nhosts = [\"intranet.example.com\"]\nchain_file = \"../certs/intranet.pem\"\nkey_file = \"../certs/intranet.key\"\n";
    let moved = intranet.replace("https://intranet.example.com", &site);
    let moved = moved.replace("10.0.0.9:8080", &format!("127.0.0.1:{}", gate.example));
    let main = fs::read_to_string(gate.config()).unwrap();
    fs::write(gate.config(), [&main, certificate, &moved].join("\n")).unwrap();
    let app = app.replace("https://localhost:8443", &gate.issuer()).replace("https://intranet.example.com", &site);
    fs::write(gate.path("conf/apps/intranet.toml"), app).unwrap();
    gate.edit("conf/users.toml", "permissions = [\"sales\"]", "permissions = [\"sales\", \"staff\"]");
    let (status, told) = gate.admin("POST", "/reload");
    assert_eq!(status, 200, "{told}");
    let script = r#"
ask() { curl -sS --cacert known.pem --resolve intranet.example.com:PORT:127.0.0.1 -b jar -c jar "$@"; }
browse() { ask -L -o page -w '%{url_effective} %{http_code}\n' -H 'Accept: text/html' -H 'Sec-Fetch-Mode: navigate' "$@"; }
ask -o page -w '%{http_code} to a script\n' -H 'Sec-Fetch-Mode: cors' "SITE/reports?month=5"
browse "SITE/reports?month=5"
sed 's/&#x2f;/\//g; s/&amp;/\&/g' page > plain
action=$(grep -o 'action="[^"]*"' plain | head -1 | cut -d'"' -f2); csrf=$(grep -o 'name="csrf" value="[^"]*"' plain | cut -d'"' -f4)
browse "ISSUER$action" -d "csrf=$csrf" -d username=alice --data-urlencode "password=correct horse battery staple"
cat page; echo
ask -o page -w '%{http_code} to a script\n' -H 'Sec-Fetch-Mode: cors' "SITE/reports?month=5"
ask -o page -D - SITE/oauth2/auth
browse "SITE/oauth2/sign_out?rd=/oauth2/auth"
"#;
    let script = script.replace("SITE", &site).replace("ISSUER", &gate.issuer());
    let script = script.replace("PORT", &gate.https.to_string());
    let run = Command::new("bash").args(["-e", "-c", &script]).current_dir(gate.folder.path()).output().unwrap();
    let told = format!("{}{}", text(&run.stdout), text(&run.stderr)).to_ascii_lowercase();
    assert!(run.status.success(), "{told}");
    let home = format!("{site}/reports?month=5 200");
    let order = [
        "401 to a script",
        "/oauth2/login?i=",
        " 200",
        &home,
        "\"x-forwarded-user\":\"alice\"",
        "200 to a script",
        " 202",
        "x-auth-request-user: alice",
        "x-auth-request-groups: sales,staff",
        "/oauth2/auth 401",
    ];
    let mut rest = told.as_str();
    for expected in order {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected} in {told}"));
        rest = &rest[at + expected.len()..];
    }
}
