//! Whether the resident memory of a process is flat.
use std::fs;

/// What was seen of it, in kibibytes, evenly spread over the run.
pub struct Memory {
    process: u32,
    seen: Vec<u64>,
}

/// Growth that is no growth: pages that an allocator keeps.
const SLACK: u64 = 8 * 1024;

impl Memory {
    pub fn of(process: u32) -> Self {
        Self { process, seen: Vec::new() }
    }

    pub fn look(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        self.seen.extend(line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()));
    }

    /// Medians of the first, the middle and the last third.
    fn thirds(&self) -> [u64; 3] {
        let part = (self.seen.len() / 3).max(1);
        [0, 1, 2].map(|n| {
            let mut third: Vec<u64> = self.seen.iter().skip(n * part).take(part).copied().collect();
            third.sort_unstable();
            third.get(third.len() / 2).copied().unwrap_or_default()
        })
    }

    /// The first third warms up; from the second to the last there is a tenth of growth at most.
    pub fn is_flat(&self) -> bool {
        let [_, middle, last] = self.thirds();
        middle > 0 && last <= middle + middle / 10 + SLACK
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, middle, last] = self.thirds().map(|kib| kib / 1024);
        let most = self.seen.iter().max().copied().unwrap_or_default() / 1024;
        write!(f, "{first} MiB in the first third, {middle} in the second, {last} in the last, {most} at most")
    }
}

/// It sees what it is there to see: run before it is believed.
pub fn proved() {
    let flat = Memory { process: 0, seen: (0..300).map(|n| 50_000 + n % 7 * 100).collect() };
    let leak = Memory { process: 0, seen: (0..300).map(|n| 50_000 + n * 300).collect() };
    assert!(flat.is_flat() && !leak.is_flat() && !Memory::of(0).is_flat());
}
