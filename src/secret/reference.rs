//! Where a secret is kept: the configuration names the place, and the secret is read when it is needed.
use super::Plain;
use std::path::PathBuf;

/// A place that holds a secret. It may be shown; what it holds may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file; white space at its end does not count.
    File(PathBuf),
    /// A program and its arguments; what it prints is the secret. The seam for key stores and secret managers.
    Command(Vec<String>),
}

impl Reference {
    /// Reads the secret; the error names the place and never holds what was read.
    pub fn read(&self) -> Result<Plain, String> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|e| format!("environment variable {name}: {e}")),
            Self::File(path) => std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display())),
            Self::Command(words) => printed(words),
        }?;
        match text.trim_end() {
            "" => Err(format!("{self:?} holds nothing")),
            secret => Ok(Plain::of(secret)),
        }
    }
}

fn printed(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("a command without a program")?;
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{program}: printed no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_its_place_and_a_failure_names_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        assert_eq!(Reference::File(file.clone()).read().unwrap().expose(), "s3cret");
        std::fs::write(&file, "\n").unwrap();
        assert!(Reference::File(file).read().unwrap_err().contains("holds nothing"));
        let words = |all: &[&str]| Reference::Command(all.iter().map(ToString::to_string).collect());
        assert_eq!(words(&["echo", "s3cret"]).read().unwrap().expose(), "s3cret");
        assert!(words(&["false"]).read().unwrap_err().starts_with("false: exit status"));
        assert!(Reference::Env("PORTCULLIS_NOT_SET".to_owned()).read().unwrap_err().contains("PORTCULLIS_NOT_SET"));
    }
}
