//! Another team's Pingora proxy with Portcullis hung in: `cargo run --example embed -- CONFIG ADDRESS`.
use pingora::{http::RequestHeader, prelude::*};
use portcullis::{
    assembly::Assembly,
    config,
    gateway::{
        canonical::canonical,
        ctx::{Admitted, Ctx},
        denial::Told,
        guard::{self, Denial},
        identity::{self, Arrival},
        mount,
        upstream::{Attempt, Peers},
    },
    log,
};
use std::path::Path;

struct TheirProxy(Assembly, Peers);

#[async_trait::async_trait]
impl ProxyHttp for TheirProxy {
    type CTX = Ctx; // or a field of yours

    fn new_ctx(&self) -> Ctx {
        Ctx::new()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let portcullis = &self.0;
        let request = session.req_header();
        ctx.begin(&request.headers, None);
        let raw = request.raw_path().split(|b| *b == b'?').next().unwrap_or_default();
        let Ok(path) = canonical(raw) else { return respond(session, Denial::InvalidRequest).await };
        if portcullis.provider.owns(path) {
            let request = mount::read(session).await?;
            return mount::send(session, portcullis.provider.handle(request).await).await.map(|()| true);
        }
        let policy = portcullis.policy.load_full();
        let asked = ("localhost", path, request.method.as_str());
        match guard::check(&policy, &portcullis.tokens, asked, (&request.headers).into(), portcullis.clock.now()) {
            Ok(permit) => ctx.admitted = Some(Admitted { permit, issuer: policy.issuer.clone() }),
            Err(denial) => return respond(session, denial).await,
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let route = admitted(ctx)?.permit.route();
        self.1.next(route, &mut Attempt::First).await
    }

    async fn upstream_request_filter(&self, _: &mut Session, rq: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
        let arrival = Arrival { client: None, scheme: "http" };
        identity::identify(rq, ctx, admitted(ctx)?, arrival, &self.0.tokens, self.0.clock.now()).await
    }
}

async fn respond(session: &mut Session, denial: Denial) -> Result<bool> {
    mount::send(session, denial.response(&Told::default())).await.map(|()| true)
}

fn admitted(ctx: &Ctx) -> Result<&Admitted> {
    ctx.admitted.as_ref().ok_or_else(|| Error::explain(InternalError, "no permit, nowhere to go"))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(main), Some(address)) = (arguments.next(), arguments.next()) else { return Err("CONFIG ADDRESS".into()) };
    let told = |mistakes: Vec<config::mistake::Mistake>| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>();
    let loaded = config::load(Path::new(&main)).map_err(told)?;
    let portcullis = Assembly::of(Path::new(&main), loaded, log::Log::stderr())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    // What was revoked before must be known before anything opens.
    runtime.block_on(portcullis.follow())?;
    portcullis.reloader.clone().watch()?;
    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, TheirProxy(portcullis, Peers::default()));
    service.add_tcp(&address);
    server.add_service(service);
    server.run_forever()
}
