//! What the documents name exists: tables and tests.
use super::routes;
use crate::process::{Gate, text};
use std::{fs, path::Path};

#[test]
fn the_tables_of_docs_edge_are_accepted() {
    let page = fs::read_to_string("docs/edge.md").unwrap();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let (server, tables): (Vec<&str>, Vec<&str>) = blocks.into_iter().partition(|b| b.starts_with("[server]"));
    assert!(tables.len() >= 5 && server.len() == 1);
    let gate = Gate::start(); // makes the certificates
    routes(&gate, &tables.concat());
    let config = fs::read_to_string(gate.config()).unwrap();
    let (head, rest) = config.split_once("[server]").unwrap();
    let rest = rest.split_once("[[certificate]]").unwrap().1;
    fs::write(gate.config(), format!("{head}{}\n[[certificate]]{rest}", server[0])).unwrap();
    let told = gate.command(&["check"], "");
    assert!(told.status.success(), "{}", text(&told.stderr));
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
    let page = fs::read_to_string("docs/threat-model.md").unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted
        .filter(|q| q.len() > 30 && q.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        .collect();
    assert!(named.len() >= 20, "{named:?}");
    for name in named {
        assert!(all.contains(&format!("fn {name}(")), "{name}");
    }
}
