//! The pages of docs/: every link leads somewhere, every command is one that there is, and the tutorial does what it says.
use super::process::{Gate, PROGRAM, text};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn gather(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, all);
        } else if path.extension().is_some_and(|e| e == "md") {
            all.push(path);
        }
    }
}

/// The README and all pages beneath docs/.
fn pages() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("README.md")];
    gather(Path::new("docs"), &mut all);
    assert!(all.len() > 7, "{all:?}");
    all
}

/// Text outside of fences, and the fenced blocks of `language`.
fn parted(page: &str, language: &str) -> (String, Vec<String>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    for (n, part) in page.split("```").enumerate() {
        match part.split_once('\n') {
            _ if n % 2 == 0 => prose += part,
            Some((named, block)) if named == language => blocks.push(block.to_owned()),
            _ => {}
        }
    }
    (prose, blocks)
}

/// What a heading is called in an address.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let lines = parted(page, "").0;
    lines.lines().filter(|l| l.starts_with('#')).map(|l| slug(l.trim_start_matches('#'))).collect()
}

#[test]
fn every_link_leads_to_a_page_and_a_heading_that_there_are() {
    let mut seen = 0;
    for page in pages() {
        let whole = fs::read_to_string(&page).unwrap();
        for link in parted(&whole, "").0.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            seen += 1;
            let (to, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if to.is_empty() { page.clone() } else { page.parent().unwrap().join(to) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !heading.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(heading), "{}: {link} names no heading of {there:?}", page.display());
            }
        }
    }
    assert!(seen > 10, "{seen} links are found");
}

#[test]
fn every_page_stands_under_one_of_the_four_headings() {
    let index = fs::read_to_string("docs/README.md").unwrap();
    let mut heading = "";
    let mut listed = BTreeSet::new();
    for line in index.lines() {
        heading = line.strip_prefix("## ").unwrap_or(heading);
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|l| !l.starts_with(".."))
        {
            assert!(link.starts_with(&format!("{}/", heading.to_lowercase())), "{link} stands under {heading}");
            listed.insert(Path::new("docs").join(link));
        }
    }
    for page in pages().into_iter().filter(|p| !p.ends_with("README.md")) {
        assert!(listed.contains(&page), "docs/README.md does not list {}", page.display());
    }
    let headings: Vec<&str> = index.lines().filter_map(|l| l.strip_prefix("## ")).collect();
    assert_eq!(headings, ["Tutorial", "How-to", "Reference", "Explanation"]);
}

/// The commands in one line of a shell, each with its first words: also those within `$(…)`, and behind pipes.
fn commands(line: &str) -> Vec<Vec<String>> {
    let code = line.split(" #").next().unwrap_or_default();
    if code.trim_start().starts_with('#') {
        return Vec::new();
    }
    let bare =
        code.replace("$(", "\n").replace("; ", "\n").replace(" | ", "\n").replace(" && ", "\n").replace(')', "\n");
    let words = bare.lines().map(|part| {
        let words = part.split_whitespace().skip_while(|w| w.contains('=') && !w.starts_with(['-', '/']));
        words.take_while(|w| !w.starts_with(['>', '<', '"', '\'', '$'])).map(str::to_owned).collect()
    });
    words.filter(|words: &Vec<String>| !words.is_empty()).collect()
}

#[test]
fn every_command_of_every_page_is_one_that_there_is() {
    let (mut ours, mut make) = (BTreeSet::new(), BTreeSet::new());
    for page in pages() {
        let mut document = false;
        for line in parted(&fs::read_to_string(&page).unwrap(), "sh").1.iter().flat_map(|b| b.lines()) {
            // What stands in a here-document is no command.
            if document || line.contains("<<'END'") {
                document = line != "END";
                continue;
            }
            for words in commands(line) {
                match &*words[0] {
                    "make" => drop(make.insert(words[1].clone())),
                    name if name == "portcullis" || name.ends_with("/portcullis") => {
                        let options = words.iter().position(|w| w.starts_with('-')).unwrap_or(words.len());
                        // Command, subcommand: what follows are values.
                        ours.insert((words[1..options.min(3)].to_vec(), words[options..].to_vec(), page.clone()));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(ours.len() > 20 && make.len() >= 2, "{ours:?} {make:?}");
    for target in make {
        let asked = Command::new("make").args(["-n", &target]).output().unwrap();
        assert!(asked.status.success(), "make {target}");
    }
    for (command, options, page) in ours {
        let help = |command: &[String]| {
            let out = Command::new(PROGRAM).args(command).arg("--help").output().unwrap();
            out.status.success().then(|| text(&out.stdout))
        };
        // A second word may be a value already.
        let told = help(&command)
            .or_else(|| help(&command[..1]))
            .unwrap_or_else(|| panic!("{command:?} of {}", page.display()));
        for option in options.iter().filter(|o| o.starts_with("--")) {
            let name = option.split('=').next().unwrap();
            assert!(told.contains(name), "{command:?} {option} of {} is not in {told}", page.display());
        }
    }
}

#[test]
fn the_tutorial_works_as_pasted() {
    let mut gate = Gate::prepare();
    gate.run();
    let page = fs::read_to_string("docs/tutorial/first-route.md").unwrap();
    let blocks = parted(&page, "sh").1;
    assert_eq!(blocks[0], "make run\n");
    let script = blocks[1..].concat();
    let script = script
        .replace("target/release/portcullis", &format!("{PROGRAM} --config conf/portcullis.toml"))
        .replace(":8443", &format!(":{}", gate.https))
        .replace(":9901", &format!(":{}", gate.admin))
        .replace(":9902", &format!(":{}", gate.example));
    let mut bash = Command::new("bash");
    let run = bash.args(["-e", "-o", "pipefail", "-c", &script]).current_dir(gate.folder.path()).output().unwrap();
    let told = text(&run.stdout);
    assert!(run.status.success(), "{told}{}", text(&run.stderr));
    let mut rest = told.as_str();
    for expected in
        [" 401", "\"x-auth-client\":\"reports\"", "\"x-forwarded-user\":\"alice\"", " 403", " 401", "invalid_token"]
    {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected} in {rest} of {told}"));
        rest = &rest[at..];
    }
}

#[test]
fn the_traces_of_the_operator_s_page_are_accepted() {
    let gate = Gate::start();
    let page = fs::read_to_string("docs/how-to/operations.md").unwrap();
    let sample = parted(&page, "toml").1.into_iter().find(|b| b.starts_with("[telemetry]")).unwrap();
    let main = fs::read_to_string(gate.config()).unwrap();
    fs::write(gate.config(), format!("{main}\n{sample}")).unwrap();
    fs::copy(gate.path("certs/ca.pem"), gate.path("conf/collector-ca.pem")).unwrap();
    let told = gate.command(&["check"], "");
    assert!(told.status.success(), "{}", text(&told.stderr));
}
