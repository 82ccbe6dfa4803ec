//! Reading TOML so that every mistake of a file is told at once, each with its line and key.
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Mistakes told of one file at most; the rest is noise.
const MOST: usize = 50;

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Reads `text` as a `T`. A line that serde refuses is told, blanked and the reading tried again, so
/// that one mistake does not hide the next.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, Vec<Mistake>> {
    let mut rest = text.to_owned();
    let mut mistakes: Vec<Mistake> = Vec::new();
    loop {
        let error = match toml::from_str::<T>(&rest) {
            Ok(value) if mistakes.is_empty() => return Ok(value),
            Ok(_) => return Err(mistakes),
            Err(error) => error,
        };
        let at = error.span().map_or(0, |span| span.start.min(rest.len()));
        let start = rest[..at].rfind('\n').map_or(0, |n| n + 1);
        let end = rest[at..].find('\n').map_or(rest.len(), |n| at + n);
        let source = rest[start..end].trim();
        let key = source.split('=').next().unwrap_or("").trim();
        let message = format!("{key}: {}", error.message().trim()).trim_start_matches(": ").to_owned();
        let line = rest[..start].matches('\n').count() + 1;
        // A header's line stands for what its table lacks: blanking it would make new mistakes.
        let last = source.is_empty() || source.starts_with('[') || mistakes.len() + 1 == MOST;
        mistakes.push(Mistake { file: file.to_owned(), line, message });
        if last {
            return Err(mistakes);
        }
        rest.replace_range(start..end, &" ".repeat(end - start));
    }
}

/// Collects what is wrong with the values of one file, or of one table in it.
pub struct Findings<'a> {
    file: &'a Path,
    text: &'a str,
    from: usize,
    /// What was found.
    pub mistakes: Vec<Mistake>,
}

impl<'a> Findings<'a> {
    /// For the whole of `text`.
    pub fn of(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, from: 0, mistakes: Vec::new() }
    }

    /// What follows concerns the table that begins at byte `from`.
    pub fn within(&mut self, from: usize) -> &mut Self {
        self.from = from.min(self.text.len());
        self
    }

    /// The folder of the file, to which the paths in it are relative.
    pub fn folder(&self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// What follows concerns the one table called `name`, or the whole where it is not there.
    pub fn table(&mut self, name: &str) -> &mut Self {
        let mut lines = self.text.split_inclusive('\n').scan(0, |at, line| {
            *at += line.len();
            Some((*at - line.len(), line))
        });
        let from = lines.find(|(_, line)| header(line) == Some(name)).map_or(0, |(at, _)| at);
        self.within(from)
    }

    /// Notes a mistake on the line where `key` is set, or where the table begins.
    pub fn wrong(&mut self, key: &str, message: impl std::fmt::Display) {
        let before = self.text[..self.from].matches('\n').count();
        let sets = |line: &str| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
                || header(line).is_some_and(|name| name.ends_with(key))
        };
        let lines = || self.text[self.from..].lines();
        let own = lines().next().and_then(header).filter(|_| self.from > 0);
        let beneath = |name: &str| own.is_none_or(|own| name.strip_prefix(own).is_some_and(|n| n.starts_with('.')));
        // What the next table says is another's.
        let count = 1 + lines().skip(1).take_while(|line| header(line).is_none_or(beneath)).count();
        let offset = lines().take(count).position(sets).unwrap_or(0);
        let message = format!("{key}: {message}");
        self.mistakes.push(Mistake { file: self.file.to_owned(), line: before + offset + 1, message });
    }

    /// The value, or `wrong` and a stand-in: the reading goes on, so that every mistake is told.
    pub fn or<T>(&mut self, key: &str, value: Result<T, String>, stand_in: T) -> T {
        value.unwrap_or_else(|why| {
            self.wrong(key, why);
            stand_in
        })
    }
}

/// The name of the table that `line` begins.
fn header(line: &str) -> Option<&str> {
    let name = line.trim_start().strip_prefix('[')?;
    let (name, rest) = name.trim_start_matches('[').split_once(']')?;
    let ends = rest.trim_start_matches(']').trim_start();
    (ends.is_empty() || ends.starts_with('#')).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_stands_in_its_own_table() {
        let text = "x = 1\n[[route]] # first\nname = \"a\"\n[route.cors]\norigins = []\n[[route]]\nscopes = []\n[login]\nx = 2\n";
        let mut found = Findings::of(Path::new("p.toml"), text);
        let first = text.find("[[").unwrap_or_default();
        found.within(first).wrong("scopes", "missing");
        found.within(first).wrong("origins", "empty");
        found.table("login").wrong("x", "too large");
        found.within(0).wrong("scopes", "anywhere");
        let lines: Vec<usize> = found.mistakes.iter().map(|m| m.line).collect();
        assert_eq!(lines, [2, 5, 9, 7]);
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        name: String,
        #[serde(default)]
        count: u8,
    }

    #[test]
    fn every_mistake_is_told_with_line_and_key() {
        let told = parse::<Sample>(Path::new("a.toml"), "name = \"x\"\nnmae = 1\ncount = 300\n").unwrap_err();
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|m| m.starts_with("a.toml:2: nmae: unknown field")), "{told:?}");
        assert!(told.iter().any(|m| m.starts_with("a.toml:3: count:")), "{told:?}");
        assert!(parse::<Sample>(Path::new("a.toml"), "name = ").is_err());
    }

    proptest::proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(\\PC|\n){0,200}") {
            let _ = parse::<Sample>(Path::new("a.toml"), &text);
        }
    }
}
