//! The faults that Portcullis is to survive, played on real processes: `make faults` in minutes, `FULL=1 make faults` with
//! the counts of the list. Prints one table; fails if one promise was broken. What cannot be played here is said.
#![allow(clippy::unwrap_used)] // a row ends where its ground gives way
#[path = "../door/cluster.rs"]
#[allow(dead_code)]
mod cluster;
mod history;
#[path = "../door/node.rs"]
#[allow(dead_code)]
mod node;
#[path = "../door/process.rs"]
#[allow(dead_code, unused_imports)]
mod process;
mod proxy;
mod rows;

use history::Verdict;

/// One line of the table.
pub struct Row {
    pub fault: &'static str,
    pub tries: usize,
    pub verdict: Verdict,
    /// 5xx where none may be, and whatever else the row promises and did not find.
    pub unexpected: usize,
    pub recovery: String,
}

/// How often a fault is tried: a few times, or as often as the list says.
pub fn times(few: usize, full: usize) -> usize {
    if std::env::var_os("FULL").is_some() { full } else { few }
}

type Play = fn() -> Result<Row, String>;

fn main() {
    history::proved();
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let all: [(&str, Play); 21] = [
        ("F1", rows::killed),
        ("F1", rows::born_together),
        ("F2", rows::replayed),
        ("F3", rows::raced),
        ("F4", rows::refreshed_at_once),
        ("F5", rows::answer_lost),
        ("F6", rows::database_stopped),
        ("F7", rows::cut_off),
        ("F8", rows::full_disk),
        ("F9", rows::flipped),
        ("F10", rows::broken_configuration),
        ("F11", rows::reloaded),
        ("F12", rows::tightened),
        ("F13", rows::rotated),
        ("F14", rows::moved),
        ("F15", rows::expired),
        ("F16", rows::idle),
        ("F16", rows::bad_tokens),
        ("F17", rows::guessed),
        ("F18", rows::upgraded),
        ("F18", rows::killed_while_handing_over),
    ];
    println!("{:<52} {:>6} {:>8} {:>6} {:>5} {:>5}  recovery", "fault", "tries", "events", "wrong", "lost", "5xx");
    let mut broken = 0;
    for (name, play) in all.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name)) {
        match play() {
            Err(why) => println!("{name}: not played here: {why}"),
            Ok(Row { fault, tries, verdict, unexpected, recovery }) => {
                let Verdict { wrong_allows, lost, failed, events } = verdict;
                let wrong = if unexpected == 0 { String::new() } else { format!("; {unexpected} NOT AS PROMISED") };
                println!(
                    "{fault:<52} {tries:>6} {events:>8} {wrong_allows:>6} {lost:>5} {failed:>5}  {recovery}{wrong}"
                );
                broken += wrong_allows + lost + unexpected;
            }
        }
    }
    assert_eq!(broken, 0, "promises broken");
}
