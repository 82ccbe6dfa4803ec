//! A network that can be cut: everything goes through here, or nothing does.
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Passes bytes on from its port to another one until it is cut.
pub struct Wire {
    pub port: u16,
    cut: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, cut) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let shared = cut.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                // A wire holds nothing back.
                for end in [&near, &far] {
                    end.set_nodelay(true).unwrap();
                }
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let cut = shared.clone();
                    std::thread::spawn(move || carry(from, to, &cut));
                }
            }
        });
        Self { port, cut }
    }

    /// From now on bytes vanish, and nobody is told.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    let mut swallowed = false;
    loop {
        match from.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                swallowed |= cut.load(Ordering::SeqCst);
                // A stream with a hole in it is none: it stays silent after it was cut.
                if !swallowed && to.write_all(&bytes[..n]).is_err() {
                    break;
                }
                if swallowed && !cut.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                    break;
                }
            }
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
