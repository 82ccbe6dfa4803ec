//! Places that a forger points a verifier to: whether anybody came.
use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
};

/// An address at which somebody listens, and a file that nobody reads without its being felt.
pub struct Bait {
    listener: TcpListener,
    opened: Receiver<()>,
    folder: tempfile::TempDir,
    /// `http://127.0.0.1:…/`.
    pub http: String,
    /// An absolute path.
    pub file: String,
}

impl Bait {
    pub fn laid() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let http = format!("http://{}/", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipe").display().to_string();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let (tell, opened) = channel();
        let pipe = file.clone();
        // A pipe opens for writing once somebody opens it for reading.
        thread::spawn(move || {
            let _open = fs::OpenOptions::new().write(true).open(pipe);
            tell.send(())
        });
        Self { listener, opened, folder, http, file }
    }

    /// Nobody came; and somebody would have been noticed.
    pub fn left_alone(self) {
        assert_eq!(self.listener.accept().map(|(_, who)| who).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(self.opened.try_recv(), Err(TryRecvError::Empty), "{} was opened", self.file);
        let came = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        self.listener.set_nonblocking(false).unwrap();
        assert_eq!(self.listener.accept().unwrap().1, came.local_addr().unwrap());
        fs::read(&self.file).unwrap();
        self.opened.recv().unwrap();
        drop(self.folder);
    }
}
