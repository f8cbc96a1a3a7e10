//! `windrose profile` on real connections, and programs that measure only while somebody asks.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network};
use windrose_tests::script::Protocol;
use windrose_tests::tests;
use windrose_tests::wait;

use crate::pair::{OTHER, PORT, Pair};

tests![
    a_report_counts_every_verdict_in_each_form,
    nothing_is_missed_and_nobody_refused_while_programs_are_switched,
    measuring_ends_with_whoever_asked,
    measuring_ends_with_an_agent_that_is_told_to,
    an_agent_that_was_killed_has_its_programs_replaced,
    programs_are_replaced_though_the_policy_is_refused,
    who_detaches_meanwhile_stays_detached,
    one_profile_at_a_time,
    metrics_of_verdicts_are_switched_by_the_configuration,
];

/// For a debug build on a busy machine to load what measures, and for the kernel to take it back.
const PATIENCE: Duration = Duration::from_secs(30);

fn policy() -> String {
    isolate("shop")
        + &network(
            "shop/allow",
            "podSelector: {}, policyTypes: [Ingress, Egress], \
             ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}]}], \
             egress: [{to: [{podSelector: {}}], ports: [{port: 8080}]}]",
        )
}

/// Programs by name: the one that the agent has and the one that the kernel runs.
fn programs(agent: &Agent) -> Result<Vec<(String, u64, Option<u64>)>> {
    let status = agent.json("/status")?;
    let programs = status["programs"].as_array().context("no programs")?;
    let programs = programs.iter().map(|program| {
        let id = program["id"].as_u64().context("a program without id")?;
        Ok((program["name"].as_str().unwrap_or_default().to_owned(), id, program["attached"].as_u64()))
    });
    programs.collect()
}

/// The program that the kernel runs for packets that are sent.
fn attached(agent: &Agent) -> Result<u64> {
    let programs = programs(agent)?;
    let packets = programs.into_iter().find(|(name, ..)| name == "packet_egress");
    packets.and_then(|(.., attached)| attached).context("packet_egress is not attached")
}

/// Waits until other programs than that are attached.
fn await_timed(agent: &Agent, plain: u64) -> Result<()> {
    wait::until_true("programs that measure are attached", PATIENCE, || Ok(attached(agent)? != plain))
}

/// Waits until that is attached again, and every program is the one that the agent means.
fn await_plain(agent: &Agent, plain: u64) -> Result<()> {
    wait::until_true(
        "programs that do not measure are attached",
        PATIENCE,
        || Ok(attached(agent)? == plain),
    )?;
    wait::until_true("all of them", PATIENCE, || {
        let programs = programs(agent)?;
        Ok(programs.iter().all(|(_, id, attached)| attached.is_none_or(|attached| attached == *id)))
    })
}

/// A profile under way, which does not outlive its test: on drop it is killed.
struct Profile(Child);

impl Profile {
    fn begin(agent: &Agent, duration: &str) -> Result<Self> {
        agent.begin(&["profile", "--duration", duration, "--output", "json"]).map(Self)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_report_counts_every_verdict_in_each_form() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let folder = agent.folder();
    for (output, name) in [("json", "report.json"), ("text", "report.txt"), ("html", "report.html")] {
        let path = folder.join(name);
        let path = path.to_str().context("a path")?;
        let arguments = ["profile", "--duration", "2s", "--output", output, "--out", path];
        let mut profile = Profile(agent.begin(&arguments)?);
        await_timed(&agent, plain)?;
        for _ in 0..5 {
            pair.web.tcp(pair.cart.v4(PORT)).passes()?;
            pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
        }
        ensure!(profile.0.wait()?.success(), "windrose profile --output {output}");
        await_plain(&agent, plain)?;
        let text = fs::read_to_string(path)?;
        match output {
            "json" => expect_report(&serde_json::from_str(&text)?)?,
            "text" => {
                for part in ["Cost per hook", "Verdict time", "shop/allow egress[0]", "Memory of maps"] {
                    ensure!(text.contains(part), "no {part} in {text}");
                }
            }
            _ => {
                ensure!(text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"));
                ensure!(text.contains("<svg") && text.contains("shop/allow egress[0]"), "{text}");
                for foreign in ["<script", "http://", "https://", "src="] {
                    ensure!(!text.contains(foreign), "the page has {foreign}");
                }
            }
        }
    }
    Ok(())
}

/// Of five connections that were allowed and five that were refused.
fn expect_report(report: &Value) -> Result<()> {
    let verdicts = |rule: &Value| rule["hits"].as_u64().unwrap_or(0) + rule["misses"].as_u64().unwrap_or(0);
    let rules = report["rules"].as_array().context("no rules")?;
    let of = |direction: &str, verdict: &str| -> u64 {
        let of = rules.iter().filter(|rule| rule["direction"] == direction && rule["verdict"] == verdict);
        of.map(verdicts).sum()
    };
    ensure!(of("egress", "allow") == 5 && of("ingress", "allow") == 5, "{rules:#?}");
    ensure!(of("egress", "deny") == 5, "{rules:#?}");
    let all = verdicts_of(report, "hits") + verdicts_of(report, "misses");
    ensure!(all == rules.iter().map(verdicts).sum::<u64>(), "{all} verdicts of {rules:#?}");
    let hooks = report["hooks"].as_array().context("no hooks")?;
    let connect = hooks.iter().find(|hook| hook["program"] == "connect4").context("no connect4")?;
    // It runs for everybody on the machine.
    ensure!(connect["runs"].as_u64().is_some_and(|runs| runs >= 10), "{connect:#}");
    ensure!(connect["ns_per_run"].as_f64().is_some_and(|ns| ns > 0.0), "{connect:#}");
    ensure!(report["maps"].as_array().is_some_and(|maps| maps.iter().any(|map| map["map"] == "RULES")));
    Ok(())
}

fn verdicts_of(report: &Value, how: &str) -> u64 {
    report[how]["verdicts"].as_u64().unwrap_or(0)
}

fn nothing_is_missed_and_nobody_refused_while_programs_are_switched() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let lasting = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    lasting.load(256)?;
    for _ in 0..3 {
        let mut profile = Profile::begin(&agent, "500ms")?;
        let mut is_on = true;
        while is_on {
            pair.web.tcp(pair.cart.v4(PORT)).passes()?;
            pair.web.tcp(pair.cart.v6(OTHER)).is_refused()?;
            is_on = profile.0.try_wait()?.is_none();
        }
        await_plain(&agent, plain)?;
    }
    let before = lasting.load_so_far()?;
    wait::until_true("the load goes on", PATIENCE, || Ok(lasting.load_so_far()? > before))?;
    lasting.stop_load()?;
    let live = agent.connections()?;
    ensure!(live.iter().all(|row| row["found"] != true), "a connection was lost and found: {live:#?}");
    Ok(())
}

fn measuring_ends_with_whoever_asked() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    // At once, while programs are still being loaded; and later.
    drop(Profile::begin(&agent, "1m")?);
    let child = Profile::begin(&agent, "1m")?;
    await_timed(&agent, plain)?;
    drop(child);
    await_plain(&agent, plain)
}

fn measuring_ends_with_an_agent_that_is_told_to() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let child = Profile::begin(&agent, "1m")?;
    await_timed(&agent, plain)?;
    agent.signal(Signal::SIGTERM)?;
    agent.await_exit()?;
    drop(child);
    // What it has left: a new one asks the kernel before it attaches anything of its own.
    agent.write("this is no policy")?;
    agent.run()?;
    wait::until_true("an agent answers", PATIENCE, || Ok(agent.json("/status").is_ok()))?;
    ensure!(attached(&agent)? == plain, "programs that measure were left behind");
    Ok(())
}

fn an_agent_that_was_killed_has_its_programs_replaced() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let child = Profile::begin(&agent, "1m")?;
    await_timed(&agent, plain)?;
    let timed = attached(&agent)?;
    agent.kill()?;
    drop(child);
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    agent.restart()?;
    let now = attached(&agent)?;
    ensure!(now != timed && now != plain, "{now}, before {timed} and {plain}");
    await_plain(&agent, now)
}

fn programs_are_replaced_though_the_policy_is_refused() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let child = Profile::begin(&agent, "1m")?;
    await_timed(&agent, plain)?;
    let timed = attached(&agent)?;
    agent.kill()?;
    drop(child);
    agent.write("kind: nonsense\n")?;
    agent.run()?;
    wait::until_true("the agent answers", PATIENCE, || Ok(agent.get("/status").is_ok()))?;
    let now = attached(&agent)?;
    ensure!(now != timed && now != plain, "{now}, before {timed} and {plain}");
    let own = programs(&agent)?.into_iter().find(|(name, ..)| name == "packet_egress").map(|(_, id, _)| id);
    ensure!(own == Some(now), "{now} is attached, the agent has {own:?}");
    ensure!(agent.get("/readyz")?.0 == 503, "nonsense is in force");
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    agent.apply(&policy())?;
    await_plain(&agent, now)?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()
}

fn who_detaches_meanwhile_stays_detached() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let child = Profile::begin(&agent, "1m")?;
    await_timed(&agent, plain)?;
    // By force: the agent runs.
    let name = agent.pins()?.file_name().context("no name")?.to_string_lossy().into_owned();
    let detached = agent.verb(&["detach", "--pins", &name, "--force"])?;
    ensure!(detached.status.success(), "{detached:?}");
    drop(child);
    agent.await_exit()?;
    ensure!(!agent.pins()?.exists(), "pinned again");
    pair.web.tcp(pair.cart.v4(OTHER)).passes()
}

fn one_profile_at_a_time() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    let plain = attached(&agent)?;
    let child = Profile::begin(&agent, "1m")?;
    await_timed(&agent, plain)?;
    let another = agent.verb(&["profile", "--duration", "1s"])?;
    let said = String::from_utf8_lossy(&another.stderr).into_owned();
    ensure!(!another.status.success() && said.contains("another profile is under way"), "{said}");
    ensure!(attached(&agent)? != plain, "the other one has ended the first");
    drop(child);
    await_plain(&agent, plain)?;
    let (status, _) = agent.get("/profile")?;
    ensure!(status == 405, "GET /profile: {status}");
    Ok(())
}

fn metrics_of_verdicts_are_switched_by_the_configuration() -> Result<()> {
    const VERDICTS: &str = "windrose_verdicts_total";
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let metrics = agent.metrics()?;
    ensure!(!metrics.has(VERDICTS, &[]), "{}", metrics.lines("windrose_verdict"));
    ensure!(metrics.sum("windrose_map_memory_bytes", &[("map", "rules")]) > 0.0);
    let verified = metrics.sum("windrose_program_verified_instructions", &[("program", "connect4")]);

    let config = agent.folder().join("agent.yaml");
    fs::write(&config, "profile: true\n")?;
    agent.kill()?;
    agent.restart_with(&["--config", config.to_str().context("a path")?])?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(VERDICTS, &[]) >= 2.0, "{}", metrics.lines("windrose_"));
    let rule = [("policy", "shop/allow"), ("direction", "egress")];
    ensure!(metrics.sum("windrose_rule_verdicts_total", &rule) >= 1.0, "{}", metrics.lines("windrose_rule"));
    let timed = metrics.sum("windrose_program_verified_instructions", &[("program", "connect4")]);
    ensure!(timed > verified, "{timed} verified instructions, without measuring {verified}");
    // A profile ends, and the metrics go on.
    let profile = agent.verb(&["profile", "--duration", "200ms", "--output", "json"])?;
    ensure!(profile.status.success(), "{profile:?}");
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    ensure!(agent.metrics()?.sum(VERDICTS, &[]) > metrics.sum(VERDICTS, &[]));

    agent.kill()?;
    agent.restart_with(&[])?;
    let metrics = agent.metrics()?;
    ensure!(!metrics.has(VERDICTS, &[]), "{}", metrics.lines("windrose_verdict"));
    let now = metrics.sum("windrose_program_verified_instructions", &[("program", "connect4")]);
    ensure!((now - verified).abs() < 0.5, "{now} verified instructions, before {verified}");
    Ok(())
}
