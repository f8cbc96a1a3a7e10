//! The story, scene by scene. Each claim is checked; the first that does not hold ends the demo.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::actor::Outcome;
use super::agent::{self, Agent};
use super::attempt::{Attempt, Expected};
use super::interrupt;
use super::players::{Connection, Server};
use super::screen::{Screen, Tone};
use super::stage::Stage;
use crate::clock::short;
use crate::output::{Paint, bytes, columns};
use crate::record::{Decided, EventView};

/// A policy must be in force so soon after its file has changed, and a connection that it denies be over.
const SOON: Duration = Duration::from_secs(2);

/// The address of payments that most attempts are about.
const PAYMENTS: &str = "10.77.0.12:8080";

/// Who may talk, and who may not.
const ATTEMPTS: [Attempt; 9] = [
    Attempt::http("web", "cart", "10.77.0.11:8080", Expected::Answer),
    Attempt::http("web", "cart", "[fd77::11]:8080", Expected::Answer),
    Attempt::udp("web", "cart", "[fd77::11]:9000", Expected::Answer),
    Attempt::udp("web", "cart", "10.77.0.11:9001", Expected::Refusal),
    Attempt::http("cart", "payments", PAYMENTS, Expected::Answer),
    Attempt::http("web", "payments", PAYMENTS, Expected::Refusal),
    Attempt::http("intruder", "payments", "[fd77::12]:8080", Expected::Silence),
    Attempt::http("outside", "web", "10.77.0.10:8080", Expected::Answer).from("203.0.113.10"),
    Attempt::http("outside", "web", "10.77.0.10:8080", Expected::Silence).from("203.0.113.66"),
];

/// Tells it.
pub(super) fn tell(stage: &Stage, agent: Agent, screen: &mut Screen) -> Result<()> {
    let servers = ["web", "cart", "payments"].map(|host| Server::start(stage, host));
    let _servers = servers.into_iter().collect::<Result<Vec<Server>>>()?;

    who_may_talk(stage, &agent, screen).context("scene 1")?;
    let kept = Connection::open(stage, "web", "[fd77::11]:8080")?;
    let doomed = Connection::open(stage, "cart", PAYMENTS)?;
    live_connections(&agent, screen).context("scene 2")?;
    policy_changes(stage, &agent, screen, &doomed).context("scene 3")?;
    let agent = agent_dies(stage, agent, screen, &kept).context("scene 4")?;
    end_of_enforcement(stage, agent, screen, kept).context("scene 5")
}

fn who_may_talk(stage: &Stage, agent: &Agent, screen: &mut Screen) -> Result<()> {
    screen.scene("Who may talk, who may not, and which line of which file says so")?;
    for attempt in &ATTEMPTS {
        show(stage, agent, screen, attempt)?;
    }
    screen.line("");
    let question = ["explain", "--from", "shop/web", "--to", "bank/payments", "--port", "8080"];
    let answer = agent.show(&question)?;
    ensure!(answer.starts_with("deny"), "`windrose explain` says: {answer}");
    screen.say(&format!("  $ windrose {}", question.join(" ")))?;
    show_output(screen, &answer);
    Ok(())
}

/// What a command has printed.
fn show_output(screen: &Screen, output: &str) {
    for line in Stage::places(output).lines() {
        screen.line(format!("  {line}").trim_end());
    }
}

/// Makes an attempt, checks what became of it, and shows it with what the agent says of it.
fn show(stage: &Stage, agent: &Agent, screen: &Screen, attempt: &Attempt) -> Result<()> {
    let last = agent.time_of_last_event()?;
    let outcome = attempt.make(stage)?;
    let event = agent.await_event(&last, |event| attempt.is_told_by(event))?;
    let event = event.with_context(|| format!("the agent did not report {attempt}"))?;
    say_attempt(screen, attempt, &outcome)?;
    say_why(screen, &event)
}

/// What decided, and where it is written.
fn say_why(screen: &Screen, event: &EventView) -> Result<()> {
    let decided = &event.decided;
    let rule = decided.rule.as_ref().context("the agent's report names no rule")?;
    let what = match (decided.verdict.as_str(), rule.index) {
        ("allow", Some(index)) => format!("allowed by rule {} of", index + 1),
        (_, Some(index)) => format!("denied by rule {} of", index + 1),
        (_, None) => "no rule allows it; isolated by".to_owned(),
    };
    let (place, direction) = (rule.place(), &decided.direction);
    let text =
        format!("      {direction}: {what} {} {}, {}", rule.kind, rule.policy(), Stage::places(&place));
    screen.say(&screen.toned(Tone::Quiet, &text))
}

fn say_attempt(screen: &Screen, attempt: &Attempt, outcome: &Outcome) -> Result<()> {
    let (tone, text) = match outcome {
        Outcome::Answered { text, elapsed_us } => {
            (Tone::Allowed, format!("{text}, {}.{} ms", elapsed_us / 1000, elapsed_us / 100 % 10))
        }
        Outcome::Failed { is_refused: true, .. } => (Tone::Refused, "EPERM, at once".to_owned()),
        Outcome::Failed { error, .. } => (Tone::Refused, error.clone()),
        Outcome::Silence => (Tone::Refused, "no answer: dropped".to_owned()),
    };
    screen.say(&format!("  {attempt}  {}", screen.toned(tone, &text)))
}

fn live_connections(agent: &Agent, screen: &mut Screen) -> Result<()> {
    screen.scene("Every live connection, as the kernel counts it")?;
    // Each of the two is seen from both of its ends.
    for (source, destination) in [("shop/web", "shop/cart"), ("shop/cart", "bank/payments")] {
        let ends = agent.connections(source, destination)?;
        ensure!(ends.len() == 2, "{source} to {destination} has {} ends in the table, not 2", ends.len());
        let is_counted = ends.iter().all(|end| end.decided.bytes_sent > 0 && end.decided.bytes_received > 0);
        ensure!(is_counted, "{source} to {destination} has traffic that is not counted");
    }
    screen.say("  As the ends see it that opened them (`windrose connections` shows all):")?;
    screen.line("");
    let mut rows = Vec::new();
    for end in agent.all_connections()?.iter().filter(|end| end.decided.direction == "egress") {
        let decided = &end.decided;
        rows.push(vec![
            decided.source.name_and_port(),
            decided.destination.name_and_port(),
            decided.protocol.clone(),
            bytes(decided.bytes_sent),
            bytes(decided.bytes_received),
            if end.rtt_seconds > 0.0 { short(end.rtt_seconds) } else { "-".to_owned() },
            decided.rule.as_ref().map(|rule| rule.place()).unwrap_or_default(),
        ]);
    }
    let heads = ["SOURCE", "DESTINATION", "PROTOCOL", "SENT", "RECEIVED", "RTT", "ALLOWED BY"];
    show_output(screen, &columns(&heads, &rows, Paint::for_stdout()));
    Ok(())
}

fn policy_changes(stage: &Stage, agent: &Agent, screen: &mut Screen, doomed: &Connection) -> Result<()> {
    const FILE: &str = "shop.yaml";
    const BEFORE: &str = "podSelector: {matchLabels: {app: payments}}";
    const AFTER: &str = "podSelector: {matchLabels: {app: nobody}}";
    screen.scene("A policy changes under a live connection")?;
    let shipped = Stage::shipped(FILE)?;
    ensure!(shipped.matches(BEFORE).count() == 1, "{FILE} is not what the story is about");
    ensure!(
        doomed.await_break(Duration::ZERO)?.is_none(),
        "the connection is over before the policy changes"
    );

    screen.say("  policies/demo/shop.yaml, what cart may call:")?;
    screen.say(&screen.toned(Tone::Refused, &format!("    - {BEFORE}")))?;
    screen.say(&screen.toned(Tone::Allowed, &format!("    + {AFTER}")))?;
    let last = agent.time_of_last_event()?;
    let saved = Instant::now();
    Stage::write_policy(FILE, &shipped.replace(BEFORE, AFTER))?;
    let broken = doomed.await_break(SOON)?;
    let elapsed = saved.elapsed();
    let (requests, error) =
        broken.with_context(|| format!("the connection lives {} ms after", elapsed.as_millis()))?;
    let text = format!("ended {} ms after the file was saved", elapsed.as_millis());
    screen.say(&format!(
        "  shop/cart -> bank/payments, live, {requests} requests answered: {}",
        screen.toned(Tone::Refused, &text)
    ))?;
    screen.say(&screen.toned(Tone::Quiet, &format!("      what cart saw: {error}")))?;
    let event = agent.await_event(&last, |event| {
        let event = &event.decided;
        event.kind == "ended_late" && event.direction == "egress" && event.source.name() == "shop/cart"
    })?;
    say_why(screen, &event.context("the agent did not report a late denial")?)?;
    show(stage, agent, screen, &Attempt::http("cart", "payments", PAYMENTS, Expected::Refusal))?;

    let edited = agent.generation()?;
    Stage::write_policy(FILE, shipped)?;
    agent.await_generation(edited + 1)?;
    screen.say("  The file as it was:")?;
    show(stage, agent, screen, &Attempt::http("cart", "payments", PAYMENTS, Expected::Answer))
}

fn agent_dies(stage: &Stage, agent: Agent, screen: &mut Screen, kept: &Connection) -> Result<Agent> {
    const ALLOWED: Attempt = Attempt::http("web", "cart", "10.77.0.11:8080", Expected::Answer);
    const REFUSED: Attempt = Attempt::http("web", "payments", PAYMENTS, Expected::Refusal);
    screen.scene("The agent dies; the kernel goes on")?;
    let before = opened(&agent)?;
    let last = agent.time_of_last_event()?;
    let id = agent.id();
    agent.kill()?;
    screen.say(&format!("  $ kill -9 {id}        # windrose run"))?;
    for attempt in [ALLOWED, REFUSED] {
        let outcome = attempt.make(stage)?;
        say_attempt(screen, &attempt, &outcome)?;
    }
    ensure!(kept.await_break(Duration::ZERO)?.is_none(), "a live connection has broken");

    let start = Instant::now();
    let agent = Agent::start(stage)?;
    screen.say(&format!(
        "  A new agent adopts what it finds: ready after {} ms.",
        start.elapsed().as_millis()
    ))?;
    let after = opened(&agent)?;
    ensure!(before.source == after.source, "the connection is not the one from before");
    let is_continued = after.bytes_sent > before.bytes_sent && after.bytes_received > before.bytes_received;
    ensure!(is_continued, "the counters of a live connection did not go on");
    screen.say(&format!(
        "  shop/web -> shop/cart is the same connection: {} bytes sent before, {} now.",
        before.bytes_sent, after.bytes_sent
    ))?;
    let missed = agent.await_event(&last, |event| REFUSED.is_told_by(event))?;
    screen.say("  The refusal that happened meanwhile is not lost:")?;
    say_why(screen, &missed.context("what was refused without an agent is not reported")?)?;
    Ok(agent)
}

/// The connection from web to cart that is kept, as the end sees it that opened it.
fn opened(agent: &Agent) -> Result<Decided> {
    let ends = agent.connections("shop/web", "shop/cart")?.into_iter().map(|end| end.decided);
    ends.into_iter().find(|end| end.direction == "egress").context("the kept connection is not in the table")
}

fn end_of_enforcement(stage: &Stage, agent: Agent, screen: &mut Screen, kept: Connection) -> Result<()> {
    screen.scene("Enforcement ends only when you say so")?;
    let requests = kept.finish()?;
    screen.say(&format!(
        "  shop/web -> shop/cart: {requests} requests on one connection, every one answered."
    ))?;
    agent.kill()?;
    screen.say("  $ windrose detach")?;
    screen.say(&format!("  {}", agent::detach()?))?;
    let attempt = Attempt::http("web", "payments", PAYMENTS, Expected::Answer);
    // A link without its pin goes away after an RCU grace period.
    let outcome = interrupt::wait_for(SOON, || Ok(attempt.make(stage).ok()))?;
    let outcome = outcome.context("web is kept from payments after `windrose detach`")?;
    say_attempt(screen, &attempt, &outcome)
}
