//! Another team's Pingora proxy with Portcullis hung in: `cargo run --example embed -- CONFIG ADDRESS`.
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::*,
    proxy::FailToProxy,
    services::background::background_service,
};
use portcullis::{assembly::Assembly, config, gateway::ctx::Ctx, gateway::proxy::Gateway, log::Log};
use std::path::Path;

/// Theirs: in each phase it lets the gate speak, and does what it likes besides.
struct TheirProxy {
    portcullis: Gateway,
}

#[async_trait::async_trait]
impl ProxyHttp for TheirProxy {
    type CTX = Ctx; // or a type of theirs that holds one

    fn new_ctx(&self) -> Ctx {
        self.portcullis.new_ctx()
    }

    /// `true`: answered. The provider's paths are, and what the guard denies; what goes on has a permit in `ctx.admitted`.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        self.portcullis.request_filter(session, ctx).await
    }

    /// The route's, from the permit; theirs might be another, for who is admitted.
    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        self.portcullis.upstream_peer(session, ctx).await
    }

    /// What a client may not say is taken away, and who calls is said, before anything of theirs is added.
    async fn upstream_request_filter(&self, s: &mut Session, rq: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
        self.portcullis.upstream_request_filter(s, rq, ctx).await?;
        rq.insert_header("X-Through", "their proxy")
    }

    async fn response_filter(&self, s: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        self.portcullis.response_filter(s, response, ctx).await
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Ctx) -> FailToProxy {
        self.portcullis.fail_to_proxy(session, e, ctx).await
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(main), Some(address)) = (arguments.next(), arguments.next()) else { return Err("CONFIG ADDRESS".into()) };
    let told = |mistakes: Vec<config::mistake::Mistake>| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>();
    let assembly = Assembly::of(Path::new(&main), config::load(Path::new(&main)).map_err(told)?, Log::stderr())?;
    assembly.reloader.clone().watch()?;
    let mut server = Server::new(None)?;
    server.bootstrap();
    // Follows what other processes end: until it has once, the gate answers 503.
    server.add_service(background_service("portcullis", assembly.upkeep()));
    let theirs = TheirProxy { portcullis: Gateway::of(&assembly) };
    let mut service = http_proxy_service(&server.configuration, theirs);
    service.add_tcp(&address);
    server.add_service(service);
    server.run_forever()
}
