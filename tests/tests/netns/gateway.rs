//! The gateway in the real agent: with the kernel half and alone, under reloads, seen from outside.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use windrose_tests::actor::Actor;
use windrose_tests::agent::Agent;
use windrose_tests::http::{self, Client};
use windrose_tests::policy::{isolate, line_of};
use windrose_tests::probe::SILENCE;
use windrose_tests::script::{Manner, Outcome, Protocol};
use windrose_tests::world::World;
use windrose_tests::{tests, trial, wait};

tests![
    requests_go_by_host_and_path_and_policy_lets_the_gateway_in,
    a_reload_under_load_loses_no_request,
    listeners_come_and_go_and_a_port_in_use_harms_no_other,
    without_root_the_gateway_runs_alone,
    what_has_begun_is_finished_at_the_end,
    the_access_log_is_opened_anew_when_it_was_renamed,
    exchanges_can_be_followed,
    the_shipped_example_serves_https_and_http2,
];

const PORT: u16 = 8080;
const WEB: u16 = 80;
const HOST: &str = "shop.example";
const PATIENCE: Duration = Duration::from_secs(20);

/// An outsider, two servers of HTTP, and the gateway's address.
struct Shop {
    world: World,
    client: Actor,
    cart: Actor,
    catalog: Actor,
}

impl Shop {
    fn new() -> Result<Self> {
        let world = World::new()?;
        let client = world.outsider("client").start()?;
        let cart = world.workload("shop/cart").label("app", "cart").start()?;
        let catalog = world.workload("shop/catalog").label("app", "catalog").start()?;
        for server in [&cart, &catalog] {
            for at in server.both(PORT) {
                server.listen(Protocol::Tcp, at, false, Manner::Http)?;
            }
        }
        Ok(Self { world, client, cart, catalog })
    }

    fn at(&self, port: u16) -> SocketAddr {
        (self.world.host().0, port).into()
    }

    fn get(&self, port: u16, host: &str, path: &str) -> Result<(u16, String)> {
        http::get(self.client.namespace(), self.at(port), host, path)
    }

    /// A Gateway with these listeners of HTTP, and a route by path.
    fn policy(&self, listeners: &[(&str, u16)]) -> String {
        let subnet = self.world.host().0.octets()[2];
        let listeners: Vec<String> = listeners
            .iter()
            .map(|(name, port)| format!("{{name: {name}, port: {port}, protocol: HTTP}}"))
            .collect();
        let service = |name: &str, last: u8| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
                 spec: {{clusterIP: 10.98.{subnet}.{last}, selector: {{app: {name}}}, \
                 ports: [{{port: 80, targetPort: {PORT}}}]}}\n"
            )
        };
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
             metadata: {{name: outside, namespace: shop}}\n\
             spec: {{gatewayClassName: windrose, listeners: [{}]}}\n\
             ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: api, namespace: shop}}\n\
             spec:\n  parentRefs: [{{name: outside}}]\n  hostnames: [{HOST}]\n  rules:\n\
             \x20   - matches: [{{path: {{value: /cart}}}}]\n      backendRefs: [{{name: cart, port: 80}}]\n\
             \x20   - backendRefs: [{{name: catalog, port: 80}}]\n{}{}",
            listeners.join(", "),
            service("cart", 1),
            service("catalog", 2),
        )
    }

    /// Whether a server answered a request for this path, at whichever of its addresses.
    fn is_of((status, body): &(u16, String), server: &Actor, path: &str) -> bool {
        let bodies = server.both(PORT).map(|at| format!("{at} GET {path} HTTP/1.1"));
        *status == 200 && bodies.contains(body)
    }
}

/// A condition of a listener of the only Gateway.
fn condition(agent: &Agent, listener: &str, kind: &str) -> Result<Value> {
    let status = agent.json("/status")?;
    let objects = status["gateway"]["objects"].as_array().context("no objects")?;
    let gateway = objects.iter().find(|object| object["kind"] == "Gateway").context("no Gateway")?;
    let listeners = gateway["listeners"].as_array().context("no listeners")?;
    let listener = listeners.iter().find(|this| this["name"] == listener).context("no such listener")?;
    let conditions = listener["conditions"].as_array().context("no conditions")?;
    conditions.iter().find(|condition| condition["type"] == kind).cloned().context("no such condition")
}

fn requests_go_by_host_and_path_and_policy_lets_the_gateway_in() -> Result<()> {
    let shop = Shop::new()?;
    // Workloads take nothing from anybody, but from their own host: the gateway is of it.
    let policy = shop.policy(&[("web", WEB)]) + &isolate("shop");
    let log = shop.world.folder().join("access.log");
    let agent = Agent::start_with(&shop.world, &policy, &["--access-log", &log.display().to_string()])?;
    ensure!(shop.client.tcp(shop.cart.v4(PORT)).outcome(SILENCE)? == Outcome::Silence);
    ensure!(Shop::is_of(&shop.get(WEB, HOST, "/cart/1")?, &shop.cart, "/cart/1"));
    ensure!(Shop::is_of(&shop.get(WEB, HOST, "/cartoon")?, &shop.catalog, "/cartoon"));
    ensure!(shop.get(WEB, "other.example", "/cart")?.0 == 404);
    ensure!(shop.get(WEB, HOST, "/cart/..%2f")?.0 == 400);

    let lines = wait::until("four lines of the log", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok((text.lines().count() == 4).then_some(text))
    })?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let place = format!("{}:{}:7", agent.policy_file().display(), line_of(&policy, "value: /cart"));
    let cart = &lines[0];
    ensure!(cart["place"] == *place, "{cart} is not of {place}");
    ensure!(cart["route"] == "shop/api" && cart["gateway"] == "shop/outside" && cart["listener"] == "web");
    let upstream = cart["upstream"].as_str().unwrap_or_default().parse()?;
    ensure!(shop.cart.both(PORT).contains(&upstream) && cart["status"] == 200, "{cart}");
    ensure!(lines[2]["refusal"] == "no_route" && lines[2]["blame"] == "downstream", "{}", lines[2]);

    let metrics = agent.metrics()?;
    let of = |labels: &[(&str, &str)]| metrics.sum("windrose_gateway_requests_total", labels);
    let good = of(&[("gateway", "outside"), ("listener", "web"), ("route", "api"), ("class", "2xx")]);
    ensure!(good.to_string() == "2", "{}", metrics.lines("windrose_gateway"));
    ensure!(of(&[("class", "4xx"), ("blame", "downstream")]).to_string() == "2");
    ensure!(metrics.sum("windrose_gateway_request_seconds_count", &[("route", "api")]).to_string() == "2");
    ensure!(metrics.sum("windrose_gateway_refusals_total", &[("reason", "path")]).to_string() == "1");

    let url = format!("http://{HOST}/cart");
    let said = agent.verb(&["explain", "--url", &url])?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(text.contains(&place) && text.contains(&shop.cart.v4(PORT).to_string()), "{text}");
    let said = agent.verb(&["status"])?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(text.contains("HTTPRoute shop/api") && text.contains("listener web"), "{text}");
    Ok(())
}

fn a_reload_under_load_loses_no_request() -> Result<()> {
    let shop = Shop::new()?;
    let policy = shop.policy(&[("web", WEB)]);
    let mut agent = Agent::start(&shop.world, &policy)?;
    let (is_over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let loads: Vec<_> = [true, true, false]
            .into_iter()
            .map(|is_kept| {
                let (shop, is_over, served) = (&shop, &is_over, &served);
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(shop.client.namespace(), shop.at(WEB))?;
                    while !is_over.load(Ordering::SeqCst) {
                        let answer = if is_kept {
                            client.get(HOST, "/cart", "")?
                        } else {
                            shop.get(WEB, HOST, "/cart")?
                        };
                        ensure!(Shop::is_of(&answer, &shop.cart, "/cart"), "{answer:?}");
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        let reloads = (0..6).try_for_each(|round| {
            let before = served.load(Ordering::SeqCst);
            let listeners: &[(&str, u16)] =
                if round % 2 == 0 { &[("web", WEB), ("other", 81)] } else { &[("web", WEB)] };
            agent.apply(&shop.policy(listeners))?;
            let is_served = || Ok(served.load(Ordering::SeqCst) > before + 10);
            wait::until_true("more requests are served", PATIENCE, is_served)
        });
        is_over.store(true, Ordering::SeqCst);
        for load in loads {
            let load = load.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            load.with_context(|| agent.log())?;
        }
        reloads
    })
}

fn listeners_come_and_go_and_a_port_in_use_harms_no_other() -> Result<()> {
    let shop = Shop::new()?;
    // Somebody else has the port of one of them.
    let host = shop.world.prober().start()?;
    let taken = host.namespace().within(|| Ok(TcpListener::bind("0.0.0.0:82")?))?;
    let mut agent = Agent::start(&shop.world, &shop.policy(&[("web", WEB), ("taken", 82)]))?;
    ensure!(shop.get(WEB, HOST, "/cart")?.0 == 200);
    let programmed = condition(&agent, "taken", "Programmed")?;
    ensure!(programmed["status"] == "False" && programmed["reason"] == "PortUnavailable", "{programmed}");
    ensure!(condition(&agent, "web", "Programmed")?["status"] == "True");
    drop(taken);
    wait::until_true("the port that is free is taken", PATIENCE, || {
        Ok(condition(&agent, "taken", "Programmed")?["status"] == "True")
    })?;
    ensure!(shop.get(82, HOST, "/cart")?.0 == 200);
    agent.apply(&shop.policy(&[("taken", 82), ("new", 83)]))?;
    ensure!(shop.get(83, HOST, "/cart")?.0 == 200 && shop.get(82, HOST, "/cart")?.0 == 200);
    wait::until_true("nobody listens on the old port", PATIENCE, || {
        Ok(Client::connect(shop.client.namespace(), shop.at(WEB)).is_err())
    })?;
    let before = agent.json("/status")?["gateway"]["listening"].clone();
    agent.apply_refused("apiVersion: v1\nkind: Nonsense\n")?;
    ensure!(shop.get(83, HOST, "/cart")?.0 == 200);
    ensure!(agent.json("/status")?["gateway"]["listening"] == before);
    Ok(())
}

fn without_root_the_gateway_runs_alone() -> Result<()> {
    let shop = Shop::new()?;
    let policy = shop.policy(&[("web", 8000)]) + &isolate("shop");
    let agent = Agent::start_alone(&shop.world, &policy, &["--gateway-workers", "3"])?;
    let process = fs::read_to_string(format!("/proc/{}/status", agent.process()?))?;
    let has = |name: &str, value: &str| {
        process.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.trim().starts_with(value)))
    };
    ensure!(has("Uid:", "65534") && has("CapEff:", "0000000000000000"), "{process}");
    ensure!(Shop::is_of(&shop.get(8000, HOST, "/cart")?, &shop.cart, "/cart"));
    // Nothing is enforced: the client may go past the gateway.
    http::get(shop.client.namespace(), shop.cart.v4(PORT), HOST, "/")?;
    ensure!(!agent.pins()?.exists());
    let status = agent.json("/status")?;
    ensure!(status["kernel_half"] == false && status["gateway"]["workers"] == 3, "{status}");
    let (code, why) = agent.get("/connections")?;
    ensure!(code == 404 && why.contains("--gateway-only"), "{code} {why}");
    let metrics = agent.metrics()?;
    ensure!(metrics.has("windrose_gateway_requests_total", &[("class", "2xx")]), "{}", metrics.text());
    ensure!(!metrics.text().contains("windrose_map_entries"));
    agent.signal(Signal::SIGTERM)?;
    let mut agent = agent;
    ensure!(agent.await_exit()?.success(), "{}", agent.log());
    Ok(())
}

fn what_has_begun_is_finished_at_the_end() -> Result<()> {
    let shop = Shop::new()?;
    let host = shop.world.prober().start()?;
    // An endpoint that answers when the test says so.
    let endpoint = host.namespace().within(|| Ok(TcpListener::bind("127.0.0.1:9000")?))?;
    let service = "---\napiVersion: v1\nkind: Service\n\
        metadata: {name: slow, namespace: shop, annotations: {windrose.dev/endpoints: \"127.0.0.1\"}}\n\
        spec: {clusterIP: 10.98.0.9, ports: [{port: 80, targetPort: 9000}]}\n";
    let policy =
        shop.policy(&[("web", 8000)]).replace("name: catalog, port: 80", "name: slow, port: 80") + service;
    let mut agent = Agent::start_alone(&shop.world, &policy, &[])?;
    let mut client = Client::connect(shop.client.namespace(), shop.at(8000))?;
    client.send(HOST, "/slow", "")?;
    let (mut asked, _) = endpoint.accept()?;
    let mut head = [0; 4096];
    ensure!(std::io::Read::read(&mut asked, &mut head)? > 0);
    agent.signal(Signal::SIGTERM)?;
    wait::until_true("nobody listens any more", PATIENCE, || {
        Ok(Client::connect(shop.client.namespace(), shop.at(8000)).is_err())
    })?;
    std::io::Write::write_all(&mut asked, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")?;
    ensure!(client.read()? == (200, "late".to_owned()));
    ensure!(agent.await_exit()?.success(), "{}", agent.log());
    Ok(())
}

fn the_access_log_is_opened_anew_when_it_was_renamed() -> Result<()> {
    let shop = Shop::new()?;
    let folder = shop.world.folder().join("log");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let log = folder.join("access.log");
    let agent = Agent::start_alone(
        &shop.world,
        &shop.policy(&[("web", 8000)]),
        &["--access-log", &log.display().to_string()],
    )?;
    let until_lines = |path: &PathBuf, count: usize| {
        wait::until_true(&format!("{count} lines in {}", path.display()), PATIENCE, || {
            Ok(fs::read_to_string(path).unwrap_or_default().lines().count() == count)
        })
    };
    shop.get(8000, HOST, "/cart")?;
    until_lines(&log, 1)?;
    let kept = folder.join("access.log.1");
    fs::rename(&log, &kept)?;
    let before = agent.generation()?;
    agent.signal(Signal::SIGHUP)?;
    wait::until_true("the signal was heard", PATIENCE, || Ok(agent.generation()? > before))?;
    shop.get(8000, HOST, "/cart")?;
    until_lines(&log, 1)?;
    until_lines(&kept, 1)
}

fn exchanges_can_be_followed() -> Result<()> {
    let shop = Shop::new()?;
    let agent = Agent::start_alone(&shop.world, &shop.policy(&[("web", 8000)]), &[])?;
    let stream = agent.open("/requests?follow")?;
    let mut lines = BufReader::new(stream).lines();
    // Who reads the head of the answer is a follower.
    let first = lines.next().context("no answer")??;
    ensure!(first.contains("200"), "{first}");
    shop.get(8000, HOST, "/cart/followed")?;
    for line in lines {
        let line = line?;
        // Lines between have the sizes of chunks.
        let exchange = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if exchange["path"] == "/cart/followed" {
            return Ok(());
        }
    }
    anyhow::bail!("the stream ended")
}

fn the_shipped_example_serves_https_and_http2() -> Result<()> {
    if !trial::is_installed("curl") {
        eprintln!("ignored, needs curl");
        ensure!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "curl is required here");
        return Ok(());
    }
    let world = World::new()?;
    let host = world.prober().start()?;
    for (port, addresses) in
        [(9001, "127.0.0.1"), (9002, "127.0.0.1"), (9003, "127.0.0.1"), (9003, "127.0.0.2")]
    {
        let at = SocketAddr::new(addresses.parse()?, port);
        host.listen(Protocol::Tcp, at, false, Manner::Http)?;
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/gateway/policy.yaml");
    let _agent = Agent::start_alone(&world, &fs::read_to_string(example)?, &[])?;
    let curl = |arguments: &[&str]| -> Result<Output> {
        host.namespace().within(|| {
            let mut command = Command::new("curl");
            command.args(["-sk", "--max-time", "20", "-o", "/dev/stdout"]);
            for port in [8080, 8443] {
                command.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
            }
            command.args(arguments).stdin(Stdio::null()).output().context("cannot run curl")
        })
    };
    let said = |arguments: &[&str]| Ok::<_, anyhow::Error>(String::from_utf8(curl(arguments)?.stdout)?);
    let write = "\n%{http_code} %{http_version} %{redirect_url}";
    let redirect = said(&["-w", write, "http://shop.example:8080/cart"])?;
    ensure!(redirect.ends_with("301 1.1 https://shop.example:8443/cart"), "{redirect}");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = said(&["-w", write, flag, "https://shop.example:8443/about"])?;
        ensure!(
            answer.contains(":9003 GET /about") && answer.contains(&format!("200 {version} ")),
            "{answer}"
        );
        let canary = said(&[flag, "-H", "X-Canary: yes", "https://shop.example:8443/cart"])?;
        ensure!(canary.contains(":9002 "), "{canary}");
    }
    // One in ten: exactly, over each run of ten.
    let urls = vec!["https://shop.example:8443/cart"; 40];
    let answers = said(&[&["--http2"], &urls[..]].concat())?;
    let next = answers.matches(":9002 ").count();
    ensure!(next == 4 && answers.matches(":9001 ").count() == 36, "{answers}");
    ensure!(
        !curl(&["https://127.0.0.1:8443/"])?.status.success(),
        "a client without the name has no certificate"
    );
    Ok(())
}
