//! Addresses that an app's requests may come from.
use super::Level;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges of addresses, each inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Box<[(IpAddr, IpAddr)]>);

/// What becomes of a request from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relaxation {
    /// It is refused.
    #[default]
    Enforce,
    /// It is refused, except for whoever holds a refresh token: they began inside.
    RefreshTokens,
    /// It is refused, except for a person who has shown a second factor.
    SecondFactor,
    /// It is let through; the ranges of profiles do not count for this app either.
    Bypass,
}

/// Where an app's requests may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// From anywhere without.
    pub ranges: Option<Ranges>,
    /// What becomes of the others.
    pub relaxation: Relaxation,
}

/// What a request shows that may excuse where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// How sure it is who sits there.
    pub level: Level,
    /// It is a refresh, or its token is one that a refresh token stands behind.
    pub refreshes: bool,
}

impl Ranges {
    /// Reads `10.0.0.0/8`, `10.0.0.7`, `10.0.0.1-10.0.0.99`, and the same of IPv6.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, String> {
        texts.iter().map(|text| range(text.as_ref())).collect::<Result<Vec<_>, _>>().map(|all| Self(all.into()))
    }

    /// Whether `address` is in one of them; an IPv4 address in IPv6's clothes is an IPv4 address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        // Addresses of one family lie together in the order of both.
        self.0.iter().any(|(first, last)| *first <= address && address <= *last)
    }
}

impl Network {
    /// Whether a request from `address` is let through; `profiles` are the ranges of the user's profiles, where those
    /// have any. An address that is not known is outside.
    pub fn admits<'a>(
        &self,
        mut profiles: impl Iterator<Item = &'a Ranges>,
        address: Option<IpAddr>,
        shown: Shown,
    ) -> bool {
        let within = |ranges: &Ranges| address.is_some_and(|a| ranges.contain(a));
        let of_profiles = profiles.next().is_none_or(|first| within(first) || profiles.any(within));
        (self.ranges.as_ref().is_none_or(within) && of_profiles)
            || match self.relaxation {
                Relaxation::Enforce => false,
                Relaxation::RefreshTokens => shown.refreshes,
                Relaxation::SecondFactor => shown.level >= Level::HighAssurance,
                Relaxation::Bypass => true,
            }
    }
}

fn range(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let bad = || format!("{text} is no address, no range such as 10.0.0.1-10.0.0.99 and no network such as 10.0.0.0/8");
    let address = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| bad());
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        let sound = first.is_ipv4() == last.is_ipv4() && first <= last;
        return if sound { Ok((first, last)) } else { Err(bad()) };
    }
    let Some((network, length)) = text.split_once('/') else { return address(text).map(|a| (a, a)) };
    let length: u32 = length.parse().map_err(|_| bad())?;
    let (first, last) = match address(network)? {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let bits = a.to_bits();
            (bits & host == 0 && length <= 32)
                .then(|| (IpAddr::V4(Ipv4Addr::from_bits(bits)), IpAddr::V4(Ipv4Addr::from_bits(bits | host))))
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let bits = a.to_bits();
            (bits & host == 0 && length <= 128)
                .then(|| (IpAddr::V6(Ipv6Addr::from_bits(bits)), IpAddr::V6(Ipv6Addr::from_bits(bits | host))))
        }
    }
    .ok_or_else(|| format!("{text}: the address has bits beyond the length of the network"))?;
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn ranges_are_read_in_three_forms_and_families_do_not_mix() {
        let all = Ranges::parse(&["10.0.0.0/8", "192.0.2.7", "198.51.100.1-198.51.100.9", "2001:db8::/32"]).unwrap();
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "198.51.100.9", "2001:db8:ffff::1", "::ffff:10.1.2.3"]
        {
            assert!(all.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.0", "192.0.2.8", "198.51.100.10", "2001:db9::", "::ffff:11.0.0.0", "::10.1.2.3"] {
            assert!(!all.contain(outside.parse().unwrap()), "{outside}");
        }
        let everything = Ranges::parse(&["0.0.0.0/0", "::/0"]).unwrap();
        assert!(everything.contain("203.0.113.1".parse().unwrap()) && everything.contain("::1".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "::/129", "a", "10.0.0.0/x"] {
            assert!(Ranges::parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_relaxation_excuses_what_it_names() {
        let ranges = Some(Ranges::parse(&["10.0.0.0/8"]).unwrap());
        let admits = |relaxation, address, level, refreshes| {
            let network = Network { ranges: ranges.clone(), relaxation };
            network.admits(std::iter::empty(), address, Shown { level, refreshes })
        };
        let (inside, outside) = (at("10.1.1.1"), at("192.0.2.1"));
        use Level::{HighAssurance, Standard};
        assert!(admits(Relaxation::Enforce, inside, Standard, false));
        assert!(
            !admits(Relaxation::Enforce, outside, HighAssurance, true)
                && !admits(Relaxation::Enforce, None, Standard, false)
        );
        assert!(admits(Relaxation::RefreshTokens, outside, Standard, true));
        assert!(!admits(Relaxation::RefreshTokens, outside, HighAssurance, false));
        assert!(admits(Relaxation::SecondFactor, outside, HighAssurance, false));
        assert!(!admits(Relaxation::SecondFactor, outside, Standard, true));
        assert!(admits(Relaxation::Bypass, outside, Standard, false));
    }

    #[test]
    fn one_of_a_users_profiles_suffices_and_the_apps_own_ranges_hold_besides() {
        let profiles = [Ranges::parse(&["10.0.0.0/8"]).unwrap(), Ranges::parse(&["192.0.2.0/24"]).unwrap()];
        let free = Network::default();
        let narrow = Network { ranges: Some(Ranges::parse(&["10.0.0.0/16"]).unwrap()), ..Network::default() };
        let admits = |network: &Network, address| network.admits(profiles.iter(), at(address), Shown::default());
        assert!(admits(&free, "10.9.0.1") && admits(&free, "192.0.2.1") && !admits(&free, "203.0.113.1"));
        assert!(admits(&narrow, "10.0.9.1") && !admits(&narrow, "10.9.0.1") && !admits(&narrow, "192.0.2.1"));
    }

    proptest::proptest! {
        #[test]
        fn foreign_text_never_panics(text in "[0-9a-f:./ -]{0,60}") {
            let _ = Ranges::parse(&[text]);
        }
    }
}
