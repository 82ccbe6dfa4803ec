//! What the documents name exists: tables and tests.
use super::routes;
use crate::process::{Gate, text};
use std::{fs, path::Path, process::Command};

#[test]
fn the_tables_of_docs_edge_are_accepted() {
    let page = fs::read_to_string("docs/reference/edge.md").unwrap();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let (server, tables): (Vec<&str>, Vec<&str>) = blocks.into_iter().partition(|b| b.starts_with("[server]"));
    assert!(tables.len() >= 5 && server.len() == 1);
    let gate = Gate::start(); // makes the certificates
    fs::copy(gate.path("certs/ca.pem"), gate.path("certs/clients-ca.pem")).unwrap();
    routes(&gate, &tables.concat());
    let config = fs::read_to_string(gate.config()).unwrap();
    let (head, rest) = config.split_once("[server]").unwrap();
    let rest = rest.split_once("[[certificate]]").unwrap().1;
    fs::write(gate.config(), format!("{head}{}\n[[certificate]]{rest}", server[0])).unwrap();
    let told = gate.command(&["check"], "");
    assert!(told.status.success(), "{}", text(&told.stderr));
}

#[test]
fn the_lines_of_docs_edge_about_client_certificates_work_as_pasted() {
    let gate = Gate::start();
    let page = fs::read_to_string("docs/reference/edge.md").unwrap();
    let script = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script
        .replace("https://localhost:8443", &gate.issuer())
        .replace("127.0.0.1:9901", &format!("127.0.0.1:{}", gate.admin));
    let run = Command::new("bash").args(["-e", "-c", &script]).current_dir(gate.folder.path()).output().unwrap();
    let told = text(&run.stdout);
    assert!(run.status.success(), "{told}{}", text(&run.stderr));
    let (good, thief) = told.split_once("\"x-forwarded-user\":\"alice\"").unwrap_or_else(|| panic!("{told}"));
    assert!(good.contains("\"revision\"") || good.contains("revision"), "{good}");
    assert!(thief.contains(" 401") && thief.contains("invalid_token"), "{thief}");
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let mut all = String::new();
    sources(Path::new("tests"), &mut all);
    sources(Path::new("src"), &mut all);
    let page = fs::read_to_string("docs/explanation/threat-model.md").unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted
        .filter(|q| q.len() > 30 && q.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        .collect();
    assert!(named.len() >= 20, "{named:?}");
    for name in named {
        assert!(all.contains(&format!("fn {name}(")), "{name}");
    }
}
