//! docs/how-to/administration.md does what it says.
use crate::process::{Gate, PROGRAM, port, text, until};
use portcullis::secret::{Digest, random_token};
use std::{fs, process::Command};

fn blocks(language: &str) -> Vec<String> {
    let document = fs::read_to_string("docs/how-to/administration.md").unwrap();
    let fence = format!("```{language}\n");
    document.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_command_of_the_page_works_as_pasted() {
    let mut gate = Gate::prepare();
    let (api, secret) = (port(), random_token());
    let moved = |text: &str| text.replace(":8443", &format!(":{}", gate.https)).replace(":9903", &format!(":{api}"));
    let [admin_api, app, registration] = &blocks("toml")[..] else { panic!("three samples") };
    let main = fs::read_to_string(gate.config()).unwrap();
    fs::write(gate.config(), moved(&[&main, admin_api, registration].map(String::as_str).join("\n"))).unwrap();
    let app = moved(app).replace("sha256:...", &format!("sha256:{}", Digest::of(secret.as_bytes()).hex()));
    fs::write(gate.path("conf/apps/ops.toml"), app).unwrap();
    let commands: Vec<String> = blocks("sh").iter().map(|block| moved(block)).collect();
    gate.run();
    gate.token();
    assert!(until(|| text(&gate.command(&["apps", "usage", "orders-robot"], "").stdout).contains("alice: 1 uses")));
    let own = format!("portcullis() {{ {PROGRAM} --config conf/portcullis.toml \"$@\"; }}\n");
    for block in &commands {
        let script = format!("{own}{block}");
        let mut bash = Command::new("bash");
        bash.args(["-e", "-o", "pipefail", "-c", &script]).env("OPS_SECRET", &secret);
        let run = bash.current_dir(gate.folder.path()).output().unwrap();
        assert!(run.status.success(), "{block}\n{}{}", text(&run.stdout), text(&run.stderr));
        let told = text(&run.stdout);
        let expected = if block.contains("acts --most") {
            "block_app by os:"
        } else if block.contains("openapi.json") {
            "\"by\":\"ops/ops-robot\""
        } else {
            "2 left until"
        };
        assert!(told.contains(expected), "{expected} in {told}");
    }
}
