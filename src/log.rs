//! Streams of JSON lines: the access log, and apart from it the audit stream. Neither ever holds a secret.
use serde::Serialize;
use serde_json::Value;
use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

/// How long lines gather before they are written together: waking the writer for each costs more than the line.
const GATHER: Duration = Duration::from_millis(5);

/// Where lines go; a thread of its own writes them, so that no request waits for the disk.
#[derive(Clone, Debug)]
pub struct Log(Option<Sender<Message>>);

#[derive(Debug)]
enum Message {
    Line(Value),
    Text(String),
    Flush(Sender<()>),
}

impl Log {
    /// Writes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Standard output.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// Standard error.
    pub fn stderr() -> Self {
        Self::to(io::stderr())
    }

    /// Appends to the file at `path`, which is made 0600.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::to(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?))
    }

    fn to(sink: impl Write + Send + 'static) -> Self {
        let (sender, lines) = channel();
        let spawned = std::thread::Builder::new().name("log".to_owned()).spawn(move || write(sink, &lines));
        Self(spawned.ok().map(|_| sender))
    }

    /// Whether anything is written, and so worth composing.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes `event` as one line; JSON escapes whatever a caller put in (log injection).
    pub fn write(&self, event: Value) {
        if let Some(sender) = &self.0 {
            // The writer ends with the process.
            let _ = sender.send(Message::Line(event));
        }
    }

    /// Writes `event` as one line, as [`Log::write`] does; for what is written often.
    pub fn tell(&self, event: &impl Serialize) {
        // What is written here are structs of ours, and those are always JSON.
        if let (Some(sender), Ok(line)) = (&self.0, serde_json::to_string(event)) {
            let _ = sender.send(Message::Text(line));
        }
    }

    /// Waits until all that was written before has reached its place.
    pub fn flush(&self) {
        let (done, written) = channel();
        if self.0.as_ref().is_some_and(|sender| sender.send(Message::Flush(done)).is_ok()) {
            // An error means that the writer has ended, and there is nothing to wait for.
            let _ = written.recv();
        }
    }
}

fn write(sink: impl Write, lines: &Receiver<Message>) {
    let mut sink = BufWriter::new(sink);
    while let Ok(first) = lines.recv() {
        if !matches!(first, Message::Flush(_)) {
            std::thread::sleep(GATHER);
        }
        for message in std::iter::once(first).chain(lines.try_iter()) {
            match message {
                // A full disk or a closed pipe must not end the process.
                Message::Line(line) => drop(writeln!(sink, "{}", plain(line.to_string()))),
                Message::Text(line) => drop(writeln!(sink, "{}", plain(line))),
                Message::Flush(done) => {
                    let _ = sink.flush();
                    let _ = done.send(());
                }
            }
        }
        let _ = sink.flush();
    }
}

/// `line`, a JSON text, with DEL and the C1 controls escaped too: JSON lets them pass, and a terminal obeys some of them.
fn plain(line: String) -> String {
    let commands = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if line.is_ascii() && !line.contains('\u{7f}') || !line.contains(commands) {
        return line;
    }
    // They stand inside strings alone, where JSON takes an escape for any character.
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if commands(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// What libraries report, as JSON lines on standard error; warnings and worse.
struct Diagnostics(Log);

impl ::log::Log for Diagnostics {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        metadata.level() <= ::log::Level::Warn
    }

    fn log(&self, record: &::log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = record.args().to_string();
            self.0.write(
                serde_json::json!({"diagnostic": message, "level": record.level().as_str(), "from": record.target()}),
            );
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Takes up what libraries report, once a process.
pub fn take_diagnostics() {
    // An error means that the host has a logger of its own, which then gets them.
    if ::log::set_boxed_logger(Box::new(Diagnostics(Log::stderr()))).is_ok() {
        ::log::set_max_level(::log::LevelFilter::Warn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s66_what_a_terminal_obeys_is_escaped_and_still_the_same_json() {
        let event = serde_json::json!({"path": "/\u{9b}31m\u{7f}\u{85}é\u{a0}"});
        let line = plain(event.to_string());
        assert!(!line.contains(|c: char| ('\u{7f}'..='\u{9f}').contains(&c)), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), event);
        assert!(line.contains('é'), "text stays text: {line}");
    }
}
