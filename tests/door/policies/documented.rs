//! The table of policies says what there is, and shows tests that there are.
use std::{collections::BTreeSet, fs, path::Path};

fn texts(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// All sources and tests in one text.
pub fn sources() -> String {
    let mut all = String::new();
    texts(Path::new("tests"), &mut all);
    texts(Path::new("src"), &mut all);
    all
}

#[test]
fn every_key_of_an_app_has_its_row_and_every_test_that_a_row_names_exists() {
    let document = fs::read_to_string("docs/reference/policies.md").unwrap();
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| policy"))
        .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let documented: BTreeSet<String> = rows.iter().flat_map(|row| quoted(row[1])).collect();
    let schema = serde_json::to_value(schemars::schema_for!(portcullis::config::app::App)).unwrap();
    let keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        assert!(documented.contains(key), "docs/reference/policies.md has no row for `{key}` of conf/apps/*.toml");
    }
    let sources = sources();
    for row in rows {
        assert_eq!(row.len(), 5, "{row:?}");
        let tests = quoted(row[4]);
        assert!(!tests.is_empty(), "no test shows {row:?}");
        for test in tests {
            assert!(
                sources.contains(&format!("fn {test}()")),
                "docs/reference/policies.md names {test}, which is no test"
            );
        }
    }
}
