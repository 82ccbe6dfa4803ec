//! Streams of JSON lines: the access log, and apart from it the audit stream. Neither ever holds a secret.
use serde_json::Value;
use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
};

/// Where lines go; a thread of its own writes them, so that no request waits for the disk.
#[derive(Clone, Debug)]
pub struct Log(Option<Sender<Value>>);

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

    /// Writes `event` as one line; JSON escapes whatever a caller put in (log injection).
    pub fn write(&self, event: Value) {
        if let Some(sender) = &self.0 {
            // The writer ends with the process.
            let _ = sender.send(event);
        }
    }
}

fn write(sink: impl Write, lines: &Receiver<Value>) {
    let mut sink = BufWriter::new(sink);
    while let Ok(first) = lines.recv() {
        for line in std::iter::once(first).chain(lines.try_iter()) {
            // A full disk or a closed pipe must not end the process.
            let _ = writeln!(sink, "{line}");
        }
        let _ = sink.flush();
    }
}
