//! Streams of JSON lines: the access log, and apart from it the audit stream. Neither ever holds a secret, nor loses a
//! line in silence: what could not be written is counted, and told of in the stream itself.
use serde::Serialize;
use serde_json::Value;
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

/// How long lines gather before they are written together: waking the writer for each costs more than the line.
const GATHER: Duration = Duration::from_millis(5);
/// Lines that wait to be written. Where the disk takes no more the next ones are lost, told and counted: neither may a
/// request wait for a line, nor the lines that wait take the memory.
const WAITING: usize = 1 << 16;
/// Bytes that are written at once.
const AT_ONCE: usize = 64 << 10;
/// How long the end of the process waits for the last lines.
const LAST: Duration = Duration::from_secs(5);

/// Where lines go; a thread of its own writes them, so that no request waits for the disk.
#[derive(Clone, Debug)]
pub struct Log(Option<Pipe>);

#[derive(Clone, Debug)]
struct Pipe {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Value),
    Text(String),
    Flush(SyncSender<()>),
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
        let (sender, lines) = sync_channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let mut writer = Writer { sink, text: Vec::new(), lines: 0, lost: lost.clone(), told: 0, broken: false };
        let spawned = std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.serve(&lines));
        Self(spawned.ok().map(|_| Pipe { sender, lost }))
    }

    /// Whether anything is written, and so worth composing.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Lines that could not be written, since the start: too many waited, or their place took none. The next line that is
    /// written is preceded by one that says how many.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |pipe| pipe.lost.load(Ordering::Relaxed))
    }

    /// Writes `event` as one line; JSON escapes whatever a caller put in (log injection).
    pub fn write(&self, event: Value) {
        if let Some(pipe) = &self.0 {
            pipe.send(Message::Line(event));
        }
    }

    /// Writes `event` as one line, as [`Log::write`] does; for what is written often.
    pub fn tell(&self, event: &impl Serialize) {
        // What is written here are structs of ours, and those are always JSON.
        if let (Some(pipe), Ok(line)) = (&self.0, serde_json::to_string(event)) {
            pipe.send(Message::Text(line));
        }
    }

    /// Waits until all that was written before has reached its place, for some seconds at most.
    pub fn flush(&self) {
        let Some(pipe) = &self.0 else { return };
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        for _ in 0..LAST.as_millis() / GATHER.as_millis() {
            match pipe.sender.try_send(message) {
                Err(TrySendError::Full(back)) => message = back,
                // An error means that the writer has ended, and there is nothing to wait for.
                Ok(()) | Err(TrySendError::Disconnected(_)) => {
                    let _ = written.recv_timeout(LAST);
                    return;
                }
            }
            std::thread::sleep(GATHER);
        }
    }
}

impl Pipe {
    fn send(&self, message: Message) {
        if self.sender.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what waits.
struct Writer<W> {
    sink: W,
    text: Vec<u8>,
    lines: u64,
    lost: Arc<AtomicU64>,
    /// How many of the lost have been told of in the stream itself.
    told: u64,
    /// Whether half a line may stand at the end.
    broken: bool,
}

impl<W: Write> Writer<W> {
    fn serve(&mut self, waiting: &Receiver<Message>) {
        while let Ok(first) = waiting.recv() {
            if !matches!(first, Message::Flush(_)) {
                std::thread::sleep(GATHER);
            }
            for message in std::iter::once(first).chain(waiting.try_iter()) {
                match message {
                    Message::Line(line) => self.line(line.to_string()),
                    Message::Text(line) => self.line(line),
                    Message::Flush(done) => {
                        self.put();
                        let _ = done.send(());
                    }
                }
            }
            self.put();
        }
    }

    fn line(&mut self, line: String) {
        self.text.extend(plain(line).into_bytes());
        self.text.push(b'\n');
        self.lines += 1;
        if self.text.len() >= AT_ONCE {
            self.put();
        }
    }

    /// Writes what has gathered. A full disk or a closed pipe must not end the process: the lines are lost, and counted.
    fn put(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let lost = self.lost.load(Ordering::Relaxed);
        let mut before = if self.broken { "\n".to_owned() } else { String::new() };
        if lost > self.told {
            before.push_str(&format!("{{\"event\":\"lines_lost\",\"lines\":{}}}\n", lost - self.told));
        }
        let written = self.sink.write_all(before.as_bytes()).and_then(|()| self.sink.write_all(&self.text));
        self.broken = written.and_then(|()| self.sink.flush()).is_err();
        if self.broken {
            self.lost.fetch_add(self.lines, Ordering::Relaxed);
        } else {
            self.told = lost;
        }
        self.text.clear();
        self.lines = 0;
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
    use std::sync::{Mutex, mpsc::channel};

    /// Takes what `allow` allows: an error for `false`, and nothing before it says a word.
    struct Held {
        allow: Receiver<bool>,
        taken: Arc<Mutex<String>>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.allow.recv().unwrap_or(true) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn f8_what_the_disk_does_not_take_is_lost_without_waiting_counted_and_told() {
        let (word, allow) = channel();
        let taken = Arc::<Mutex<String>>::default();
        let log = Log::to(Held { allow, taken: taken.clone() });
        log.write(serde_json::json!({"n": "first"}));
        word.send(false).unwrap();
        log.flush();
        assert_eq!(log.lost(), 1, "the disk is full");
        let count = WAITING as u64 * 2;
        for n in 0..count {
            log.tell(&n);
        }
        let lost = log.lost() - 1;
        assert!(lost > 0 && lost < count, "{lost}: nobody waited for the disk");
        drop(word);
        log.flush();
        log.write(serde_json::json!({"n": "last"}));
        log.flush();
        assert_eq!(log.lost(), lost + 1);
        let taken = taken.lock().unwrap();
        let told = |line: &str| serde_json::from_str::<Value>(line).ok()?["lines"].as_u64();
        assert_eq!(taken.lines().filter_map(told).sum::<u64>(), lost + 1, "told in the stream");
        assert_eq!(taken.lines().filter(|l| l.parse::<u64>().is_ok()).count() as u64, count - lost);
        assert!(!taken.contains("first") && taken.ends_with("{\"n\":\"last\"}\n"));
    }

    #[test]
    fn s66_what_a_terminal_obeys_is_escaped_and_still_the_same_json() {
        let event = serde_json::json!({"path": "/\u{9b}31m\u{7f}\u{85}é\u{a0}"});
        let line = plain(event.to_string());
        assert!(!line.contains(|c: char| ('\u{7f}'..='\u{9f}').contains(&c)), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), event);
        assert!(line.contains('é'), "text stays text: {line}");
    }
}
