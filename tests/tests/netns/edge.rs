//! The edge: dropped at the interface of the host, before its network stack.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_tests::actor::{Actor, PATIENCE};
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::probe::SILENCE;
use windrose_tests::script::{Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;
use windrose_tests::world::World;

use crate::pair::PORT;

tests![
    who_is_on_a_list_reaches_nothing_and_is_counted,
    a_list_is_read_again_and_a_broken_one_changes_nothing,
    an_addition_ends_by_itself_or_is_taken_back,
    the_allow_list_excepts_from_everything,
    a_limit_lets_its_burst_pass,
    without_an_agent_it_drops_as_before,
    an_interface_that_appears_is_taken,
    an_edge_that_is_no_longer_configured_is_taken_off,
    above_a_rate_connections_are_made_by_cookies,
    a_cookie_is_no_way_round_policy,
];

const PACKETS: &str = "windrose_edge_packets_total";

/// A client, and a server in the host's own network namespace behind the client's link.
struct Scene {
    // Dropped first: it detaches.
    agent: Agent,
    client: Actor,
    server: Actor,
    interface: String,
    files: Files,
}

/// A folder for the configuration and lists, gone with the test.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("windrose-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Where a file of it is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file as one change.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let draft = self.0.join("draft");
        fs::write(&draft, text)?;
        fs::rename(&draft, self.0.join(name)).context("cannot write a file")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scene {
    /// `edge` is the rest of that mapping; `INTERFACE`, `CLIENT` and `CLIENT6` are filled in, in
    /// the list too, which is `deny.txt`.
    fn new(name: &str, edge: &str, list: &str) -> Result<Self> {
        let world = World::new()?;
        let role = world.outsider("client");
        let interface = role.interface();
        let client = role.start()?;
        let server = world.prober().start()?;
        server.serve(PORT)?;
        let files = Files::new(name)?;
        let fill = |text: &str| {
            text.replace("INTERFACE", &interface)
                .replace("CLIENT6", &client.v6(0).ip().to_string())
                .replace("CLIENT", &client.v4(0).ip().to_string())
        };
        files.write("deny.txt", &fill(list))?;
        files.write("agent.yaml", &fill(&format!("edge:\n  interfaces: [{{name: INTERFACE}}]\n{edge}")))?;
        let config = files.0.join("agent.yaml");
        let agent = Agent::start_with(&world, "", &["--config", &config.to_string_lossy()])?;
        Ok(Self { agent, client, server, interface, files })
    }

    fn edge(&self) -> Result<Value> {
        Ok(self.agent.json("/status")?["edge"].clone())
    }

    fn dropped(&self, reason: &str) -> Result<f64> {
        Ok(self.agent.metrics()?.sum(PACKETS, &[("verdict", "drop"), ("reason", reason)]))
    }

    fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = self.agent.verb(&[&["edge"], arguments].concat())?;
        ensure!(output.status.success(), "windrose edge {arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn v4_is_dropped(&self) -> Result<()> {
        self.client.tcp(self.server.v4(PORT)).is_dropped()?;
        self.client.udp(self.server.v4(PORT)).is_dropped()
    }

    fn v4_passes(&self) -> Result<()> {
        self.client.tcp(self.server.v4(PORT)).passes()?;
        self.client.udp(self.server.v4(PORT)).passes()
    }

    /// Its neighbour discovery is dropped, too: sooner or later the client finds no neighbour.
    fn v6_is_dropped(&self) -> Result<()> {
        let outcome = self.client.tcp(self.server.v6(PORT)).outcome(SILENCE)?;
        ensure!(matches!(outcome, Outcome::Silence | Outcome::Unreachable), "{outcome:?}");
        Ok(())
    }

    fn await_v4(&self, what: &str, outcome: &Outcome) -> Result<()> {
        wait::until_true(what, PATIENCE, || {
            Ok(self.client.udp(self.server.v4(PORT)).outcome(SILENCE)? == *outcome)
        })
        .with_context(|| self.agent.log())
    }
}

fn who_is_on_a_list_reaches_nothing_and_is_counted() -> Result<()> {
    let scene = Scene::new("listed", "  deny: [{file: deny.txt}]\n", "CLIENT a noisy one\n")?;
    let edge = scene.edge()?;
    ensure!(edge["interfaces"][0]["mode"] == "generic", "{edge}");
    ensure!(edge["interfaces"][0]["why"].to_string().contains("veth"), "{edge}");
    scene.v4_is_dropped()?;
    scene.client.tcp(scene.server.v6(PORT)).passes()?;
    ensure!(scene.dropped("denied_host")? > 1.5, "{}", scene.agent.metrics()?.lines(PACKETS));
    ensure!(scene.agent.metrics()?.sum(PACKETS, &[("reason", "passed")]) > 1.5, "nothing passed");
    let known = scene.command(&["list", &scene.client.v4(0).ip().to_string()])?;
    ensure!(known.contains("denied\n") && known.contains("on deny.txt: a noisy one"), "{known}");
    let listed = scene.command(&["list"])?;
    ensure!(listed.contains("deny.txt  1        in force"), "{listed}");
    Ok(())
}

fn a_list_is_read_again_and_a_broken_one_changes_nothing() -> Result<()> {
    let scene = Scene::new("reload", "  deny: [{file: deny.txt}]\n", "203.0.113.0/24\n")?;
    scene.v4_passes()?;
    let client = scene.client.v4(0).ip();
    scene.files.write("deny.txt", &format!("203.0.113.0/24\n{client}/30 until 2100-01-01T00:00:00Z\n"))?;
    scene.await_v4("the new list is in force", &Outcome::Silence)?;
    scene.v4_is_dropped()?;
    ensure!(scene.dropped("denied_prefix")? > 0.5, "{}", scene.agent.metrics()?.lines(PACKETS));

    scene.files.write("deny.txt", "203.0.113.0/24\n 203.0.113.0/33\n")?;
    let fault = wait::until("the fault is told", PATIENCE, || {
        let edge = scene.edge()?;
        Ok(edge["lists"][0]["faults"][0].as_object().cloned())
    })?;
    ensure!(fault["line"] == 2 && fault["column"] == 2, "{fault:?}");
    ensure!(fault["file"] == "deny.txt", "{fault:?}");
    scene.v4_is_dropped()?;
    ensure!(scene.agent.metrics()?.sum("windrose_edge_list_ready", &[]) < 0.5, "it is said to be ready");

    scene.files.write("deny.txt", "203.0.113.0/24\n")?;
    scene.await_v4("the mended list is in force", &Outcome::Passed)?;
    scene.v4_passes()
}

fn an_addition_ends_by_itself_or_is_taken_back() -> Result<()> {
    let scene = Scene::new("added", "", "")?;
    let client = scene.client.v4(0).ip().to_string();
    scene.v4_passes()?;
    let said = scene.command(&["deny", &client, "--for", "2s", "--reason", "asked for /etc/passwd"])?;
    ensure!(said.contains("added by operator, until") && said.contains("asked for /etc/passwd"), "{said}");
    scene.v4_is_dropped()?;
    scene.await_v4("it ends", &Outcome::Passed)?;
    wait::until_true("the entry is removed", PATIENCE, || {
        Ok(scene.agent.json("/edge/deny")?["added"].as_array().is_some_and(Vec::is_empty))
    })?;

    scene.command(&["deny", &format!("{client}/24")])?;
    scene.v4_is_dropped()?;
    let said = scene.command(&["undeny", &client])?;
    ensure!(said.contains("nothing was added under exactly this prefix"), "{said}");
    ensure!(said.contains("added by operator"), "{said}");
    scene.command(&["undeny", &format!("{client}/24")])?;
    scene.v4_passes()
}

fn the_allow_list_excepts_from_everything() -> Result<()> {
    let edge = "  deny: [{file: deny.txt}]\n  allow: [CLIENT/32]\n  private: true\n";
    let scene = Scene::new("allowed", edge, "CLIENT\n0.0.0.0/0\n::/0\n")?;
    scene.v4_passes()?;
    scene.v6_is_dropped()?;
    let client = scene.client.v4(0).ip().to_string();
    let output = scene.agent.verb(&["edge", "deny", &client])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success() && said.contains("edge.allow"), "{said}");
    Ok(())
}

fn a_limit_lets_its_burst_pass() -> Result<()> {
    let edge = "  limits: [{protocol: udp, rate: 1/m, burst: 5}]\n";
    let scene = Scene::new("limited", edge, "")?;
    let before = scene.server.received(Protocol::Udp, PORT)?;
    for n in 0..8 {
        let outcome = scene.client.udp(scene.server.v4(PORT)).outcome(SILENCE)?;
        let expected = if n < 5 { Outcome::Passed } else { Outcome::Silence };
        ensure!(outcome == expected, "datagram {n}: {outcome:?}");
    }
    let received = scene.server.received(Protocol::Udp, PORT)? - before;
    ensure!(received == 5, "{received} of 8 arrived");
    ensure!((2.5..3.5).contains(&scene.dropped("udp_limit")?), "{}", scene.agent.metrics()?.lines(PACKETS));
    // Another protocol and another family are not counted.
    scene.client.tcp(scene.server.v4(PORT)).passes()?;
    scene.client.udp(scene.server.v6(PORT)).passes()
}

fn without_an_agent_it_drops_as_before() -> Result<()> {
    let mut scene = Scene::new("killed", "  deny: [{file: deny.txt}]\n", "CLIENT6\n")?;
    scene.command(&["deny", &scene.client.v4(0).ip().to_string(), "--for", "1h", "--reason", "stays"])?;
    let expect_dropped = |scene: &Scene| -> Result<()> {
        scene.v4_is_dropped()?;
        scene.v6_is_dropped()
    };
    expect_dropped(&scene)?;
    let links = scene.agent.links()?;
    let before = scene.dropped("denied_host")?;
    scene.agent.kill()?;
    expect_dropped(&scene)?;
    scene.agent.restart()?;
    expect_dropped(&scene)?;
    ensure!(scene.agent.links()? == links, "{:?}, once {links:?}", scene.agent.links()?);
    ensure!(scene.dropped("denied_host")? > before, "counters went back");
    let added = scene.agent.json("/edge/deny")?["added"].clone();
    ensure!(added[0]["reason"] == "stays" && added[0]["until"].is_string(), "{added}");
    // A list that cannot be read by a new agent stays as the old one has left it.
    scene.agent.kill()?;
    fs::remove_file(scene.files.0.join("deny.txt"))?;
    scene.agent.restart()?;
    expect_dropped(&scene)?;
    ensure!(scene.edge()?["lists"][0]["entries"].is_null(), "{}", scene.edge()?);
    scene.agent.kill()?;
    ensure!(scene.agent.detach()?.status.success(), "cannot detach");
    scene.v4_passes()
}

fn an_interface_that_appears_is_taken() -> Result<()> {
    let scene = Scene::new("late", "", "")?;
    let program = |scene: &Scene| Ok::<_, anyhow::Error>(scene.edge()?["interfaces"][0]["mode"].clone());
    ensure!(program(&scene)? == "generic");
    // Made again under the same name, it is another interface.
    let (host, interface) = (scene.server.namespace(), &scene.interface);
    host.ip(&format!("link set {interface} name away"))?;
    wait::until_true("it is missed", PATIENCE, || Ok(program(&scene)?.is_null()))?;
    let why = scene.edge()?["interfaces"][0]["why"].to_string();
    ensure!(why.contains("no interface"), "{why}");
    host.ip(&format!("link set away name {interface}"))?;
    wait::until_true("it is found", PATIENCE, || Ok(program(&scene)? == "generic"))?;
    scene.command(&["deny", &scene.client.v4(0).ip().to_string()])?;
    scene.v4_is_dropped()
}

fn an_edge_that_is_no_longer_configured_is_taken_off() -> Result<()> {
    let mut scene = Scene::new("gone", "  deny: [{file: deny.txt}]\n", "CLIENT\n")?;
    scene.v4_is_dropped()?;
    scene.agent.kill()?;
    scene.files.write("agent.yaml", "audit: false\n")?;
    scene.agent.restart()?;
    scene.v4_passes()?;
    ensure!(scene.edge()?.is_null(), "{}", scene.edge()?);
    let (status, said) = scene.agent.get("/edge/deny")?;
    ensure!(status == 404 && said.contains("edge.interfaces"), "{status} {said}");
    ensure!(scene.agent.links()?.iter().all(|link| !link.starts_with("edge")), "{:?}", scene.agent.links()?);
    Ok(())
}

/// One SYN a minute for each port; the kernel makes cookies whether it needs them or not.
const COOKIES: &str = "  syn_cookies: {rate: 1/m, burst: 1}\n";

fn above_a_rate_connections_are_made_by_cookies() -> Result<()> {
    let scene = Scene::new("cookies", COOKIES, "")?;
    scene.server.namespace().set("ipv4/tcp_syncookies", "2")?;
    for to in scene.server.both(PORT) {
        for n in 0..5 {
            let sent = scene.client.tcp(to).bytes(200_000).outcome(PATIENCE)?;
            ensure!(sent == Outcome::Passed, "connection {n} to {to}: {sent:?}");
        }
    }
    let answered = scene.agent.metrics()?.sum(PACKETS, &[("reason", "syn_cookie")]);
    ensure!((7.5..8.5).contains(&answered), "{}", scene.agent.metrics()?.lines(PACKETS));
    // Nobody listens: nothing is answered in anybody's place.
    for _ in 0..3 {
        let outcome = scene.client.tcp(scene.server.v4(1)).outcome(PATIENCE)?;
        ensure!(outcome == Outcome::NobodyListens, "{outcome:?}");
    }
    // By itself the kernel makes none while the listener has room: SYNs go on to it.
    scene.server.namespace().set("ipv4/tcp_syncookies", "1")?;
    for to in scene.server.both(PORT) {
        scene.client.tcp(to).passes()?;
    }
    let after = scene.agent.metrics()?.sum(PACKETS, &[("reason", "syn_cookie")]);
    ensure!((after - answered).abs() < 0.5, "{answered} before, {after} now");
    Ok(())
}

/// Two clients, of whom policy allows one, and a workload in the host's own network namespace.
fn a_cookie_is_no_way_round_policy() -> Result<()> {
    let world = World::new()?;
    let roles = [world.workload("shop/friend"), world.workload("shop/stranger").label("is", "strange")];
    let interfaces: Vec<String> =
        roles.iter().map(|role| format!("{{name: {}}}", role.interface())).collect();
    let [friend, stranger] = roles;
    let (friend, stranger) = (friend.start()?, stranger.start()?);
    let guest = world.guest("shop/guest").label("app", "guest").start()?;
    guest.serve(PORT)?;
    guest.namespace().set("ipv4/tcp_syncookies", "2")?;
    let files = Files::new("cookie-policy")?;
    files.write("agent.yaml", &format!("edge:\n  interfaces: [{}]\n{COOKIES}", interfaces.join(", ")))?;
    let config = files.0.join("agent.yaml");
    let policy = network(
        "shop/guest",
        "podSelector: {matchLabels: {app: guest}}, \
         ingress: [{from: [{podSelector: {matchExpressions: [{key: is, operator: DoesNotExist}]}}]}]",
    );
    let agent = Agent::start_with(&world, &policy, &["--config", &config.to_string_lossy()])?;
    let refuses = |stranger: &Actor| -> Result<()> {
        for to in guest.both(PORT) {
            for n in 0..3 {
                let outcome = stranger.tcp(to).outcome(SILENCE)?;
                ensure!(outcome != Outcome::Passed, "connection {n} to {to} got through");
            }
        }
        Ok(())
    };
    refuses(&stranger)?;
    let answered = agent.metrics()?.sum(PACKETS, &[("reason", "syn_cookie")]);
    ensure!(answered > 1.5, "no cookies were sent: {}", agent.metrics()?.lines(PACKETS));
    let received = guest.received(Protocol::Tcp, PORT)?;
    ensure!(received == 0, "{received} were accepted");
    for to in guest.both(PORT) {
        friend.tcp(to).passes()?;
        friend.tcp(to).passes()?;
    }
    // Now that the listener knows friends, too.
    refuses(&stranger)
}
