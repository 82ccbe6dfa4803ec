//! The walls of the house: which folder may name what.
use std::{fs, path::Path};

fn sources(folder: &Path, all: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push((path.strip_prefix("src").unwrap().display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn imports_point_one_way_and_each_wall_stands() {
    let mut all = Vec::new();
    sources(Path::new("src"), &mut all);
    assert!(all.len() > 30, "the sources are found");
    // What is named, and the only places that may name it.
    let walls: [(&str, &[&str]); 13] = [
        ("pingora::", &["gateway/"]),
        ("rusqlite", &["store/sqlite.rs", "store/conformance.rs"]),
        ("tokio_postgres", &["store/postgres/"]),
        ("SystemTime::now", &["clock.rs"]),
        ("rand::fill", &["secret.rs"]),
        ("crate::cli", &["cli/"]),
        ("crate::gateway", &["cli/", "gateway/"]),
        ("crate::config", &["assembly.rs", "cli/", "config/", "gateway/"]),
        ("crate::provider", &["assembly.rs", "cli/", "gateway/", "provider/", "grant/", "salesforce/"]),
        ("bergshamra", &["saml/"]),
        ("samael", &["saml/"]),
        ("quick_xml", &["saml/", "salesforce/soap.rs"]),
        ("unsafe ", &[]),
    ];
    for (file, text) in &all {
        for (named, places) in walls {
            let allowed = places.iter().any(|place| file.starts_with(place)) || file == "lib.rs";
            assert!(allowed || !text.contains(named), "{file} names {named}");
        }
        let lines = text.lines().count();
        assert!(lines <= 400, "{file} has {lines} lines");
    }
    let model = all.iter().filter(|(f, _)| f.starts_with("model/"));
    for (file, text) in model {
        for above in ["crate::store", "crate::token", "crate::policy", "crate::grant"] {
            assert!(!text.contains(above), "{file} names {above}");
        }
    }
}
