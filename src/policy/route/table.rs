//! All routes: the most specific one for a request.
use super::{PathRule, Route, canonical::plain};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What the table says of a request.
#[derive(Clone, Debug)]
pub enum Found {
    /// The most specific route.
    Route(Arc<Route>),
    /// A path is known, the most specific by this route, but not with this method; with these, comma-separated.
    MethodNotAllowed(Arc<Route>, String),
    /// No route: 404.
    NotFound,
    /// An upstream that decodes its escapes would take the path for another one, which another route leads to.
    Undecidable,
}

/// Routes in order of specificity, found by what their paths begin with rather than one after the other.
#[derive(Clone, Debug, Default)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    exact: HashMap<String, Vec<usize>>,
    prefix: HashMap<String, Vec<usize>>,
    /// By number of segments.
    pattern: HashMap<usize, Vec<usize>>,
    names: HashMap<Arc<str>, usize>,
}

impl Table {
    /// Orders `routes`: a named host before any, exact before pattern before prefix, longer before shorter.
    pub fn build(mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by_key(|r| std::cmp::Reverse(rank(r)));
        let mut table = Self::default();
        for (at, route) in routes.iter().enumerate() {
            table.names.entry(route.name.clone()).or_insert(at);
            match &route.path {
                PathRule::Exact(path) => table.exact.entry(path.clone()).or_default().push(at),
                PathRule::Prefix(path) => table.prefix.entry(path.clone()).or_default().push(at),
                PathRule::Pattern(segments) => table.pattern.entry(segments.len()).or_default().push(at),
            }
        }
        table.routes = routes;
        table
    }

    /// Where the most specific route for host and path is, and those whose paths are like its own.
    fn best(&self, host: &str, path: &str) -> Option<(usize, &Vec<usize>)> {
        let mut best: Option<(usize, &Vec<usize>)> = None;
        let covers = |at: &&usize| {
            let route = &self.routes[**at];
            route.host.as_deref().is_none_or(|h| h == host) && route.path.matches(path)
        };
        // In order, so the first that covers is the best of its like.
        let first = |alike: Option<&'_ Vec<usize>>| alike.and_then(|alike| alike.iter().find(covers)).copied();
        let better = |best: Option<(usize, &Vec<usize>)>, at: usize| best.is_none_or(|(known, _)| at < known);
        let mut consider = |alike| {
            if let (Some(at), Some(alike)) = (first(alike), alike)
                && better(best, at)
            {
                best = Some((at, alike));
            }
        };
        consider(self.exact.get(path));
        if !self.pattern.is_empty() {
            let segments = path.bytes().filter(|b| *b == b'/').count();
            consider(self.pattern.get(&segments));
        }
        if !self.prefix.is_empty() {
            let mut ancestor = Some(path);
            while let Some(prefix) = ancestor {
                consider(self.prefix.get(prefix));
                ancestor = prefix.rfind('/').map(|end| &prefix[..end]);
            }
        }
        best
    }

    /// The most specific route for a canonical path.
    pub fn find(&self, host: &str, path: &str, method: &str) -> Found {
        // Host and path choose first: a method that the best of them does not take falls through to no other.
        let best = self.best(host, path);
        let place = |best: Option<(usize, _)>| best.map(|(at, _)| at);
        if plain(path).is_some_and(|plain| place(self.best(host, &plain)) != place(best)) {
            return Found::Undecidable;
        }
        let Some((at, alike)) = best else { return Found::NotFound };
        let chosen = &self.routes[at];
        let takes = |route: &Route| route.methods.is_empty() || route.methods.contains(method);
        if takes(chosen) {
            return Found::Route(chosen.clone());
        }
        let same = |route: &&Arc<Route>| route.host == chosen.host && route.path == chosen.path;
        let others = alike.iter().map(|at| &self.routes[*at]).filter(same);
        if let Some(other) = others.clone().find(|route| takes(route)) {
            return Found::Route(other.clone());
        }
        let known: BTreeSet<&str> = others.flat_map(|route| route.methods.iter().map(String::as_str)).collect();
        Found::MethodNotAllowed(chosen.clone(), known.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// The routes, most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// The route of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.names.get(name).map(|at| &self.routes[*at])
    }

    /// Routes that can never match, because earlier ones take all they could, and those.
    pub fn unreachable(&self) -> Vec<(&Arc<Route>, Vec<&str>)> {
        let shadowed = |(at, route): (usize, &'_ Arc<Route>)| {
            let like = |earlier: &&Arc<Route>| earlier.host == route.host && earlier.path == route.path;
            let earlier: Vec<&Arc<Route>> = self.routes[..at].iter().filter(like).collect();
            if let Some(one) = earlier.iter().find(|e| e.methods.is_empty() || e.methods == route.methods) {
                return Some(vec![&*one.name]);
            }
            let takes = |method: &String| earlier.iter().any(|e| e.methods.contains(method));
            let all = !route.methods.is_empty() && route.methods.iter().all(takes);
            all.then(|| earlier.iter().map(|e| &*e.name).collect())
        };
        let all = self.routes.iter().enumerate();
        all.filter_map(|(at, route)| Some((route, shadowed((at, route))?))).collect()
    }
}

fn rank(route: &Route) -> (bool, u8, usize, bool) {
    let (kind, length) = match &route.path {
        PathRule::Exact(p) => (2, p.len()),
        PathRule::Pattern(s) => (1, s.iter().flatten().map(|s| s.len() + 100).sum()),
        PathRule::Prefix(p) => (0, p.len()),
    };
    (route.host.is_some(), kind, length, !route.methods.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{Auth, ErrorStyle, IdentityHeaders, Requirement, TokenRelay, Upstream};
    use super::*;

    fn route(path: &str, host: Option<&str>, methods: &[&str]) -> Arc<Route> {
        Arc::new(Route {
            name: format!("{}{path}{}", host.unwrap_or(""), methods.join(",")).into(),
            host: host.map(str::to_owned),
            path: PathRule::parse(path).unwrap(),
            methods: methods.iter().map(|&m| m.to_owned()).collect(),
            requirement: Requirement::default(),
            per_method: Vec::new(),
            resource: "https://a".into(),
            auth: Auth::Token,
            upstream: Upstream::default(),
            relay: TokenRelay::Strip,
            errors: ErrorStyle::Oauth,
            headers: IdentityHeaders::default(),
            terms: None,
            turn: Arc::default(),
            issuers: None,
            counts: Arc::default(),
        })
    }

    #[test]
    fn the_most_specific_route_wins_and_a_known_path_tells_its_methods() {
        let table = Table::build(vec![
            route("/*", None, &[]),
            route("/a/*", None, &["GET"]),
            route("/a/{id}", None, &["GET", "PUT"]),
            route("/a/me", None, &["GET"]),
            route("/a/*", Some("h"), &["GET"]),
        ]);
        let found = |host: &str, path: &str, method: &str| match table.find(host, path, method) {
            Found::Route(route) => route.name.to_string(),
            Found::MethodNotAllowed(_, allow) => format!("405 {allow}"),
            Found::NotFound => "404".to_owned(),
            Found::Undecidable => "400".to_owned(),
        };
        assert_eq!(found("x", "/a/me", "GET"), "/a/meGET");
        assert_eq!(found("x", "/a/7", "PUT"), "/a/{id}GET,PUT");
        assert_eq!(found("x", "/a/7/8", "GET"), "/a/*GET");
        assert_eq!(found("h", "/a/me", "GET"), "h/a/*GET", "a named host comes first");
        assert_eq!(found("x", "/a/7/8", "POST"), "405 GET", "a weaker route is no way around");
        assert_eq!(found("h", "/a/7", "PUT"), "405 GET", "nor is one for any host");
        assert_eq!(found("x", "/b", "GET"), "/*");
        let table = Table::build(vec![
            route("/a/*", None, &["GET"]),
            route("/a/*", None, &["PUT"]),
            route("/a/{id}", None, &["PUT"]),
        ]);
        assert!(matches!(table.find("x", "/a/7", "GET"), Found::MethodNotAllowed(_, m) if m == "PUT"));
        assert!(matches!(table.find("x", "/a/7/8", "PUT"), Found::Route(_)), "methods of one path, in two routes");
        assert!(matches!(table.find("x", "/a/7/8", "POST"), Found::MethodNotAllowed(_, m) if m == "GET, PUT"));
        assert!(matches!(table.find("x", "/ab", "GET"), Found::NotFound));
        assert!(table.named("/a/{id}PUT").is_some_and(|r| *r.name == *"/a/{id}PUT") && table.named("/a").is_none());
    }

    #[test]
    fn s66_two_spellings_of_one_path_are_decided_alike_or_not_at_all() {
        let table = Table::build(vec![
            route("/*", None, &[]),
            route("/caf%C3%A9", None, &[]),
            route("/a!b/*", None, &[]),
            route("/users/{id}", None, &[]),
        ]);
        let decided = |path: &str| matches!(table.find("x", path, "GET"), Found::Route(_));
        assert!(decided("/caf%C3%A9") && decided("/a!b/c") && decided("/users/a%40b") && decided("/z%21"));
        for odd in ["/caf%c3%a9", "/a%21b/c", "/a%21b"] {
            assert!(matches!(table.find("x", odd, "GET"), Found::Undecidable), "{odd}");
        }
    }

    #[test]
    fn what_earlier_routes_take_together_can_never_match() {
        let table = Table::build(vec![
            route("/a", None, &["GET"]),
            route("/a", None, &["PUT", "POST"]),
            route("/a", None, &["GET", "PUT"]),
            route("/a", None, &[]),
            route("/a", Some("h"), &["GET"]),
        ]);
        let told: Vec<_> =
            table.unreachable().into_iter().map(|(r, by)| format!("{} {}", r.name, by.join(" "))).collect();
        assert_eq!(told, ["/aGET,PUT /aGET /aPUT,POST"]);
    }

    proptest::proptest! {
        #[test]
        fn the_index_finds_what_a_walk_finds(path in "(/[ab]{0,2}){1,4}", host in "[xh]", get in proptest::bool::ANY) {
            let all = ["/*", "/a/*", "/a/{id}", "/a/b", "/{x}/b/*", "/a/{id}/b", "/b"];
            let all = all.iter().filter_map(|p| PathRule::parse(p).ok().map(|_| p));
            let hosts = [None, Some("h")];
            let routes = all.flat_map(|p| hosts.map(|h| route(p, h, if p.len() % 2 == 0 { &["GET"] } else { &[] })));
            let table = Table::build(routes.collect());
            let method = if get { "GET" } else { "POST" };
            let best = table.iter().find(|r| r.host.as_deref().is_none_or(|h| h == host) && r.path.matches(&path));
            let walked = best.and_then(|best| table.iter().find(|r| {
                r.host == best.host && r.path == best.path && (r.methods.is_empty() || r.methods.contains(method))
            }));
            let found = match table.find(&host, &path, method) {
                Found::Route(route) => Some(route.name.clone()),
                Found::MethodNotAllowed(..) | Found::NotFound | Found::Undecidable => None,
            };
            proptest::prop_assert_eq!(found, walked.map(|r| r.name.clone()));
        }
    }
}
