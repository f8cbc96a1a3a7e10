//! Deny lists by URL: fetched, kept when that fails, and in force on real traffic.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_tests::actor::{Actor, PATIENCE};
use windrose_tests::agent::Agent;
use windrose_tests::probe::SILENCE;
use windrose_tests::script::Outcome;
use windrose_tests::tests;
use windrose_tests::wait;
use windrose_tests::world::World;

use crate::edge::Files;
use crate::pair::PORT;

#[path = "edge_fetch/feed.rs"]
mod feed;

use feed::{Authority, Feed};

tests![
    a_changed_list_is_fetched_and_an_unchanged_one_is_not,
    a_list_outlives_its_server_and_the_agent,
    what_is_broken_or_too_large_changes_nothing,
    by_https_only_from_whom_is_trusted,
];

/// A client, a server in the host's own network namespace behind the client's link, and a feed there.
struct Scene {
    // Dropped first: it detaches.
    agent: Agent,
    client: Actor,
    server: Actor,
    feed: Feed,
    files: Files,
}

impl Scene {
    /// `lists` is `edge.deny`, with `PORT` for the feed's; `CLIENT` is filled in in what the feed has
    /// at `/list`.
    fn new(name: &str, authority: Option<&Authority>, lists: &str, list: &str) -> Result<Self> {
        let world = World::new()?;
        let role = world.outsider("client");
        let interface = role.interface();
        let client = role.start()?;
        let server = world.prober().start()?;
        server.serve(PORT)?;
        let feed = Feed::start(server.namespace(), authority)?;
        feed.put("/list", &list.replace("CLIENT", &client.v4(0).ip().to_string()));
        let files = Files::new(name)?;
        if let Some(authority) = authority {
            files.write("ca.pem", &authority.pem)?;
        }
        let lists = lists.replace("PORT", &feed.port().to_string());
        let text = format!("state: state\nedge:\n  interfaces: [{{name: {interface}}}]\n  deny: {lists}\n");
        files.write("agent.yaml", &text)?;
        let config = files.path("agent.yaml");
        let agent = Agent::start_with(&world, "", &["--config", &config.to_string_lossy()])?;
        Ok(Self { agent, client, server, feed, files })
    }

    fn list(&self, index: usize) -> Result<Value> {
        Ok(self.agent.json("/status")?["edge"]["lists"][index].clone())
    }

    /// Waits until a list is as wanted.
    fn await_list(&self, what: &str, index: usize, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = wait::until(what, PATIENCE, || Ok(Some(self.list(index)?).filter(&is)));
        found.with_context(|| format!("{:#?}\n{}", self.list(index), self.agent.log()))
    }

    fn await_v4(&self, what: &str, outcome: &Outcome) -> Result<()> {
        wait::until_true(what, PATIENCE, || {
            Ok(self.client.udp(self.server.v4(PORT)).outcome(SILENCE)? == *outcome)
        })
        .with_context(|| self.agent.log())
    }

    fn is_dropped(&self) -> Result<()> {
        self.client.tcp(self.server.v4(PORT)).is_dropped()
    }

    fn passes(&self) -> Result<()> {
        self.client.tcp(self.server.v4(PORT)).passes()
    }
}

fn error(list: &Value) -> &str {
    list["fetch"]["error"].as_str().unwrap_or_default()
}

fn a_changed_list_is_fetched_and_an_unchanged_one_is_not() -> Result<()> {
    let lists = "[{url: 'http://me:pass%20word@127.0.0.1:PORT/moved?key=hidden', interval: 1s}]";
    let scene = Scene::new("fetched", None, lists, "203.0.113.0/24\n")?;
    scene.feed.redirect("/moved", "list?key=hidden");
    let shown = format!("http://127.0.0.1:{}/moved?...", scene.feed.port());
    let list = scene.await_list("the list is there", 0, |list| list["entries"] == 1)?;
    ensure!(list["list"] == shown.as_str(), "{list}");
    scene.passes()?;
    wait::until_true("two answers without a list", PATIENCE, || Ok(scene.feed.unchanged() >= 2))?;
    let log = scene.agent.log();
    ensure!(log.matches("deny lists in force").count() == 2, "put in force again: {log}");

    let client = scene.client.v4(0).ip().to_string();
    scene.feed.put_packed("/list", &format!("# packed\n203.0.113.0/24\n{client} a noisy one\n"))?;
    scene.await_v4("the new list is in force", &Outcome::Silence)?;
    scene.is_dropped()?;
    let dropped = scene.agent.metrics()?.sum("windrose_edge_packets_total", &[("reason", "denied_host")]);
    ensure!(dropped > 0.5, "{dropped}");
    let known = String::from_utf8(scene.agent.verb(&["edge", "list", &client])?.stdout)?;
    ensure!(known.contains(&format!("on {shown}: a noisy one")), "{known}");
    let listed = String::from_utf8(scene.agent.verb(&["edge", "list"])?.stdout)?;
    ensure!(listed.contains(&format!("{shown}  2        in force, as of 20")), "{listed}");

    // `me:pass word`, by RFC 7617.
    let asked = scene.feed.asked();
    ensure!(asked.iter().all(|head| head.contains("authorization: Basic bWU6cGFzcyB3b3Jk\r\n")), "{asked:?}");
    ensure!(asked.iter().all(|head| head.contains("key=hidden")), "{asked:?}");
    let metrics = scene.agent.metrics()?.lines("windrose_edge_list");
    for (what, text) in [
        ("log", scene.agent.log()),
        ("status", scene.agent.json("/status")?.to_string()),
        ("metrics", format!("{metrics:?}")),
        ("command", listed + &known),
    ] {
        ensure!(
            !text.contains("hidden") && !text.contains("pass%20") && !text.contains("me:"),
            "{what}: {text}"
        );
    }
    Ok(())
}

fn a_list_outlives_its_server_and_the_agent() -> Result<()> {
    let lists = "[{url: 'http://127.0.0.1:PORT/list', interval: 1s}]";
    let mut scene = Scene::new("outlived", None, lists, "CLIENT\n")?;
    scene.await_v4("the list is in force", &Outcome::Silence)?;
    scene.feed.stop();
    let list = scene.await_list("the failure is told", 0, |list| error(list).contains("cannot connect"))?;
    ensure!(list["entries"] == 1 && list["fetch"]["failing_since"].is_string(), "{list}");
    scene.is_dropped()?;
    let metrics = scene.agent.metrics()?;
    let failures = metrics.sum("windrose_edge_list_fetch_failures_total", &[("reason", "connect")]);
    ensure!(failures > 0.5, "{}", metrics.lines("windrose_edge_list"));
    ensure!(metrics.sum("windrose_edge_list_ready", &[]) < 0.5, "it is said to be ready");
    ensure!(metrics.sum("windrose_edge_list_entries", &[]) > 0.5, "{}", metrics.lines("windrose_edge_list"));

    // Nothing is left in the kernel: what is in force then is of the copy.
    scene.agent.kill()?;
    ensure!(scene.agent.detach()?.status.success(), "cannot detach");
    scene.passes()?;
    scene.agent.restart()?;
    scene.is_dropped()?;
    let list = scene.await_list("it cannot be fetched", 0, |list| error(list).contains("cannot connect"))?;
    ensure!(list["entries"] == 1 && list["fetch"]["confirmed_at"].is_string(), "{list}");
    let listed = String::from_utf8(scene.agent.verb(&["edge", "list"])?.stdout)?;
    ensure!(listed.contains("kept as of 20") && listed.contains("cannot connect"), "{listed}");

    scene.feed.resume()?;
    let before = scene.feed.unchanged();
    scene.await_list("it can be fetched again", 0, |list| list["fetch"]["error"].is_null())?;
    ensure!(scene.feed.unchanged() > before, "the copy's validators were not told");
    scene.is_dropped()?;
    scene.feed.put("/list", "# nobody\n");
    scene.await_v4("the new list is in force", &Outcome::Passed)
}

fn what_is_broken_or_too_large_changes_nothing() -> Result<()> {
    let lists = "[{url: 'http://127.0.0.1:PORT/list', interval: 1s, max_bytes: 100}]";
    let scene = Scene::new("broken", None, lists, "CLIENT\n")?;
    scene.await_v4("the list is in force", &Outcome::Silence)?;
    scene.feed.put("/list", "203.0.113.0/24\n 203.0.113.0/33\n");
    let list = scene.await_list("the fault is told", 0, |list| list["faults"][0].is_object())?;
    let fault = &list["faults"][0];
    ensure!(fault["line"] == 2 && fault["column"] == 2, "{fault}");
    let place = format!("http://127.0.0.1:{}/list:2:2: ", scene.feed.port());
    ensure!(scene.agent.log().contains(&place), "no {place} in {}", scene.agent.log());
    scene.is_dropped()?;

    for (body, packed, why) in
        [("", false, "it is empty"), ("#", true, "max_bytes"), ("#", false, "max_bytes")]
    {
        let body = body.repeat(101);
        if packed {
            scene.feed.put_packed("/list", &body)?;
        } else {
            scene.feed.put("/list", &body);
        }
        scene.await_list(why, 0, |list| {
            list["faults"].to_string().contains(why) || error(list).contains(why)
        })?;
    }
    scene.is_dropped()?;
    scene.feed.redirect("/list", "/list");
    scene.await_list("the circle is told", 0, |list| error(list).contains("more than 5 redirections"))?;
    scene.is_dropped()?;

    scene.feed.put("/list", "203.0.113.0/24\n");
    scene.await_v4("the mended list is in force", &Outcome::Passed)?;
    let is_mended =
        |list: &Value| list["faults"] == Value::Array(Vec::new()) && list["fetch"]["error"].is_null();
    scene.await_list("nothing is wrong any more", 0, is_mended).map(drop)
}

fn by_https_only_from_whom_is_trusted() -> Result<()> {
    let lists = "[{url: 'https://127.0.0.1:PORT/list', interval: 1s, ca_file: ca.pem}, \
                  {url: 'https://127.0.0.1:PORT/stranger', interval: 1s}, \
                  {url: 'https://127.0.0.1:PORT/down', interval: 1s, ca_file: ca.pem}]";
    let authority = Authority::new()?;
    let scene = Scene::new("https", Some(&authority), lists, "CLIENT\n")?;
    scene.feed.put("/stranger", "0.0.0.0/0\n");
    scene.feed.redirect("/down", &format!("http://127.0.0.1:{}/list?key=hidden", scene.feed.port()));
    scene.await_v4("the list is in force", &Outcome::Silence)?;
    let list = scene.await_list("the stranger is told", 1, |list| !error(list).is_empty())?;
    // A machine without any authority of its own trusts nobody either.
    ensure!(error(&list).contains("UnknownIssuer") || error(&list).contains("ca-certificates"), "{list}");
    ensure!(list["entries"].is_null() && list["fetch"]["failures"]["tls"].is_u64(), "{list}");
    let list =
        scene.await_list("the redirection is told", 2, |list| error(list).contains("from https to http"))?;
    ensure!(list["entries"].is_null() && !list.to_string().contains("hidden"), "{list}");

    let url = format!("https://127.0.0.1:{}/list", scene.feed.port());
    let ca_file = scene.files.path("ca.pem");
    let checked = scene.agent.verb(&["edge", "check", "--ca-file", &ca_file.to_string_lossy(), &url])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.success() && said.contains(&format!("{url}: 1 entry")), "{checked:?}");
    ensure!(!scene.agent.verb(&["edge", "check", &url])?.status.success(), "a stranger is trusted");
    Ok(())
}
