//! An upstream that comes and goes, and knows what should never have reached it.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long after its return a failure may still be told of.
const SETTLED: Duration = Duration::from_secs(5);

/// From when, until when.
type Absence = (Instant, Option<Instant>);

#[derive(Clone)]
pub struct Upstream {
    pub port: u16,
    away: Arc<AtomicBool>,
    /// When it went, and when it came back.
    times: Arc<Mutex<Vec<Absence>>>,
    served: Arc<AtomicUsize>,
    forbidden: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Self {
            port,
            away: Arc::default(),
            times: Arc::default(),
            served: Arc::default(),
            forbidden: Arc::default(),
        };
        let theirs = own.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let theirs = theirs.clone();
                std::thread::spawn(move || while theirs.answer(&stream).is_some() {});
            }
        });
        own
    }

    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        // What it began to read it leaves lying when it goes.
        (!self.away.load(Ordering::SeqCst)).then_some(())?;
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        reader.read_exact(&mut vec![0; length]).ok()?;
        self.served.fetch_add(1, Ordering::SeqCst);
        self.forbidden.fetch_add(usize::from(head.contains("x-soak: forbidden")), Ordering::SeqCst);
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").ok()
    }

    /// Every connection ends from now on.
    pub fn go(&self) {
        self.times.lock().unwrap().push((Instant::now(), None));
        self.away.store(true, Ordering::SeqCst);
    }

    pub fn come_back(&self) {
        self.away.store(false, Ordering::SeqCst);
        if let Some(last) = self.times.lock().unwrap().last_mut() {
            last.1 = Some(Instant::now());
        }
    }

    /// Whether it was away at some time between `begun` and now, or had just come back.
    pub fn explains(&self, begun: Instant) -> bool {
        let times = self.times.lock().unwrap();
        times.iter().any(|(_, back)| back.is_none_or(|back| back + SETTLED > begun))
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub fn forbidden(&self) -> usize {
        self.forbidden.load(Ordering::SeqCst)
    }
}
