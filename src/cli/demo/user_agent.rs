//! A person's browser, played: keeps cookies, reads the forms of our own pages, and follows nothing by itself.
use super::{Tour, shortened};
use std::collections::BTreeMap;

/// One browser.
pub struct UserAgent<'a> {
    /// Where it browses.
    pub tour: &'a Tour,
    cookies: BTreeMap<String, String>,
}

/// What it was shown.
pub struct Shown {
    /// The status.
    pub status: u16,
    /// Where it is sent, if it is.
    pub location: String,
    /// The page.
    pub page: String,
}

impl<'a> UserAgent<'a> {
    /// One without cookies.
    pub fn new(tour: &'a Tour) -> Self {
        Self { tour, cookies: BTreeMap::new() }
    }

    /// Opens `target`, and goes on as long as it is sent on to our own pages.
    pub fn open(&mut self, target: &str) -> Result<Shown, String> {
        let mut shown = self.send(target, None)?;
        while shown.location.starts_with('/') {
            let target = shown.location.clone();
            shown = self.send(&target, None)?;
        }
        Ok(shown)
    }

    /// Fills in the page's form and presses its button; goes on as [`Self::open`] does.
    pub fn submit(&mut self, shown: &Shown, fields: &[(&str, &str)]) -> Result<Shown, String> {
        let action = between(&shown.page, "action=\"", "\"").ok_or("the page has no form")?.replace("&#x2f;", "/");
        let csrf = between(&shown.page, "name=\"csrf\" value=\"", "\"").unwrap_or_default();
        let code = between(&shown.page, "name=\"user_code\" value=\"", "\"");
        let hidden = [("csrf", csrf)].into_iter().chain(code.map(|c| ("user_code", c)));
        let all: Vec<(&str, &str)> = hidden.chain(fields.iter().copied()).collect();
        let shown = self.send(&action, Some(&all))?;
        if shown.location.starts_with('/') { self.open(&shown.location) } else { Ok(shown) }
    }

    fn send(&mut self, target: &str, form: Option<&[(&str, &str)]>) -> Result<Shown, String> {
        let url = format!("{}{target}", self.tour.issuer);
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let agent = &self.tour.agent;
        let answer = match form {
            Some(fields) => agent.post(url).header("cookie", cookies).send_form(fields.iter().copied()),
            None => agent.get(url).header("cookie", cookies).call(),
        };
        let answer = answer.map_err(|e| e.to_string())?;
        for set in answer.headers().get_all("set-cookie") {
            let pair = set.to_str().ok().and_then(|s| s.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Shown::of(Ok(answer))
    }
}

impl Shown {
    /// What an answer shows.
    pub fn of(answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Self, String> {
        let mut answer = answer.map_err(|e| e.to_string())?;
        let location = answer.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or_default().to_owned();
        let page = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
        Ok(Self { status: answer.status().as_u16(), location, page })
    }

    /// The page's heading, and what is listed beneath it.
    pub fn heading(&self) -> String {
        let heading = between(&self.page, "<h1>", "</h1>").unwrap_or("no page");
        let scopes: Vec<&str> = self.page.split("<li>").skip(1).filter_map(|item| item.split("</li>").next()).collect();
        let list = if scopes.is_empty() { String::new() } else { format!(" ({})", scopes.join(" · ")) };
        format!("\"{heading}\"{list}").replace("&#x27;", "'")
    }

    /// A field of the address that the browser is sent to.
    pub fn field(&self, name: &str) -> Option<String> {
        let query = self.location.split_once('?')?.1;
        form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == name).map(|(_, v)| v.into_owned())
    }

    /// Prints the step; fails unless the page or the address it leads to holds `expected`.
    pub fn expect(self, title: &str, line: &str, expected: &str) -> Result<Self, String> {
        let seen = if self.location.is_empty() {
            self.heading()
        } else {
            let fields = self.location.split('&').map(|f| f.split_once('=').map_or(f.to_owned(), short_field));
            format!("-> {}", fields.collect::<Vec<_>>().join("&"))
        };
        println!("{title}\n   {line}\n   {} {seen}\n", self.status);
        if self.page.contains(expected) || self.location.contains(expected) {
            Ok(self)
        } else {
            Err(format!("{title}: expected {expected}, got {} {}{}", self.status, self.location, self.page))
        }
    }
}

fn short_field((name, value): (&str, &str)) -> String {
    format!("{name}={}", shortened(value))
}

/// The text behind `before` and up to `after`.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split(after).next()
}
