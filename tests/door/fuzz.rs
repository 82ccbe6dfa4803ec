//! Every fuzz target over its seeds, and over what becomes of them when they are damaged: bounded, with any compiler.
#[path = "../../fuzz/targets.rs"]
mod targets;

use proptest::{
    prelude::any,
    sample::Index,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};
use std::{fs, path::Path};

/// Rounds for each target.
const ROUNDS: usize = 2_000;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(Path::new("fuzz/seeds").join(name)).unwrap();
    let mut files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|f| fs::read(f).unwrap()).collect()
}

/// One change: a byte replaced, put in, taken out or doubled, a cut, or a piece of another seed.
fn damaged(seeds: &[Vec<u8>], changes: &[(u8, Index, u8)], first: Index) -> Vec<u8> {
    let mut bytes = first.get(seeds).clone();
    for (kind, place, byte) in changes {
        let at = place.index(bytes.len() + 1);
        match kind % 6 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => {
                let tail = bytes[at..].to_vec();
                bytes.extend(tail.into_iter().take(64));
            }
            _ => {
                let other = place.get(seeds);
                bytes.splice(at..at, other[usize::from(*byte) % (other.len() + 1)..].iter().take(64).copied());
            }
        }
    }
    bytes
}

#[test]
fn every_target_holds_over_its_seeds_and_their_damaged_kin() {
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "{name} has seeds");
        assert!(Path::new("fuzz/fuzz_targets").join(format!("{name}.rs")).exists(), "{name} is a target of cargo-fuzz");
        seeds.iter().for_each(|seed| target(seed));
        let change = (any::<u8>(), any::<Index>(), any::<u8>());
        let plan = (proptest::collection::vec(change, 1..8), any::<Index>());
        let mut runner = TestRunner::new(Config::default());
        for _ in 0..ROUNDS {
            let (changes, first) = plan.new_tree(&mut runner).unwrap().current();
            let bytes = damaged(&seeds, &changes, first);
            let held = std::panic::catch_unwind(|| target(&bytes));
            assert!(held.is_ok(), "{name} does not hold for {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
