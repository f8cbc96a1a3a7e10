//! The command line: its names are a contract.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::RefusedIngress;
pub(crate) use crate::demo::DemoArgs;
pub(crate) use crate::edge::EdgeArgs;
use crate::north::parse_workers;
pub(crate) use crate::profile::Output;
pub(crate) use crate::top::View;

/// Where the agent answers unless told otherwise.
pub(crate) const DEFAULT_ADMIN: &str = "127.0.0.1:9901";

/// Windrose enforces policy between workloads in the kernel, and says which line of which file
/// decided.
#[derive(Debug, Parser)]
#[command(
    name = "windrose",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done; 1 it failed, and standard error says why; 2 the command line is wrong."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enforce policy files, and do so again whenever they change
    #[command(long_about = "Enforce policy files, and do so again whenever they change.

SIGHUP reads the policy again at once. SIGTERM and SIGINT end the agent and leave enforcement in \
place: `windrose detach` ends that. A bad policy leaves the one that is in force; with none in force, \
the agent does not start.

Where policy has a Gateway of the class `windrose`, the agent listens for it, too. At the end it \
finishes exchanges that have begun. SIGHUP also opens the access log anew.")]
    Run(RunArgs),
    /// Say whether policy files are valid
    #[command(
        long_about = "Say whether policy files are valid: all faults and warnings of all files in one run.",
        after_help = "Exit codes: 0 valid, perhaps with warnings; 1 refused, and standard error has every fault."
    )]
    Check(CheckArgs),
    /// Say what the policy decides about a connection or a request, and which rules decide it
    #[command(
        long_about = "Say what the policy decides about a connection (--from, --to), and which rules decide it; for \
a denial, the nearest rule that would have allowed it and what differed. Or what the gateway does with a request \
(--url): listener, route, rule, filters, backends and endpoints.

Without --policy the running agent is asked, which knows the addresses of its host.",
        after_help = "Exit codes: 0 there is an answer, whatever the verdict; 1 there is none."
    )]
    Explain(ExplainArgs),
    /// Show what the running agent enforces
    Status(StatusArgs),
    /// Show exchanges of the gateway as they end
    Requests(RequestsArgs),
    /// Show the live connections of workloads
    Connections(ConnectionsArgs),
    /// Show recent events: connections opened, closed, refused, ended late, audited
    Flows(FlowsArgs),
    /// Watch connections, rates, refusals and the cost of programs, live
    #[command(long_about = "Watch connections, rates, refusals and the cost of programs, live.

Press ? for the keys. What programs cost is known while the kernel's run statistics are on, which costs \
every run of every BPF program of the machine about 75 ns: `--programs`, or the key t, has the agent \
switch them on, and off again some seconds after nobody looks.")]
    Top(TopArgs),
    /// Measure for a while what each hook, rule, look-up and map costs
    #[command(long_about = "Measure for a while what each hook, rule, look-up and map costs.

While it runs, each run of a program costs about 75 ns more, and each verdict (one or two a connection) \
about 0.2 us; packets of established TCP connections pay for the former only. Other programs take the place \
of those attached for as long; to load them takes a second or two, once. Afterwards everything is as it was.")]
    Profile(ProfileArgs),
    /// Deny sources at the edge, before the network stack, and show what is denied
    #[command(long_about = "Deny sources at the edge, before the network stack, and show what is denied.

The edge is where the agent's configuration names interfaces. What is added here is in the kernel at \
once, and outlives the agent.")]
    Edge(EdgeArgs),
    /// End enforcement: remove every program and map from the kernel
    #[command(long_about = "End enforcement: remove every program and map from the kernel.

This may be done at any time. A running agent notices within seconds, says so and ends.")]
    Detach(DetachArgs),
    /// Show it all on real traffic, in a minute
    Demo(DemoArgs),
}

/// `windrose run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A policy file, or a folder with *.yaml, *.yml and *.json; may be repeated
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) policy: Vec<PathBuf>,
    /// Where to answer operators [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin)]
    pub(crate) admin: Option<SocketAddr>,
    /// A configuration file; flags come before it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Report what would be refused and let it pass
    #[arg(long)]
    pub(crate) audit: bool,
    /// How to answer a connection or datagram that a workload may not accept [default: drop]
    #[arg(long, value_name = "HOW")]
    pub(crate) refused_ingress: Option<RefusedIngress>,
    /// Serve what comes from outside, and enforce nothing in the kernel: needs no root
    #[arg(long)]
    pub(crate) gateway_only: bool,
    /// Threads of the gateway [default: one for each processor]
    #[arg(long, value_name = "NUMBER", value_parser = parse_workers)]
    pub(crate) gateway_workers: Option<usize>,
    /// Where to log exchanges of the gateway, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,
    /// Name of the folder of pins below the BPF file system
    #[arg(long, value_name = "NAME", default_value = "windrose", hide = true)]
    pub(crate) pins: String,
}

/// `windrose check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Policy files, or folders with *.yaml, *.yml and *.json
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,
}

/// `windrose explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A policy file or folder; may be repeated. Without one the running agent is asked
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) policy: Vec<PathBuf>,
    /// Who opens: a workload as NAMESPACE/NAME, or an address
    #[arg(long, value_name = "NS/NAME|IP", required_unless_present = "url")]
    pub(crate) from: Option<String>,
    /// Who accepts: a workload as NAMESPACE/NAME, or an address. Of several addresses of a workload
    /// the first is taken whose family both ends have
    #[arg(long, value_name = "NS/NAME|IP", required_unless_present = "url")]
    pub(crate) to: Option<String>,
    /// Destination port; required for TCP, UDP and SCTP
    #[arg(long)]
    pub(crate) port: Option<u16>,
    // Not as a doc comment: clippy wants backticks around what clap would print with them.
    #[arg(long, default_value = "TCP", help = "TCP, UDP, SCTP, ICMP, ICMPv6 or an IP protocol number")]
    pub(crate) protocol: String,
    /// The URL of a request to the gateway, instead of a connection
    #[arg(long, conflicts_with_all = ["from", "to", "port", "protocol", "host_address"])]
    pub(crate) url: Option<String>,
    /// With --url: the method of the request
    #[arg(long, default_value = "GET", requires = "url")]
    pub(crate) method: String,
    /// With --url: a header of the request; may be repeated
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    pub(crate) header: Vec<String>,
    /// With --policy: an address of the host that the workloads run on; may be repeated
    #[arg(long, value_name = "IP")]
    pub(crate) host_address: Vec<IpAddr>,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,
    /// Where the agent answers
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = parse_admin)]
    pub(crate) admin: SocketAddr,
}

/// Whom to ask and how to show the answer.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// Where the agent answers
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = parse_admin)]
    pub(crate) admin: SocketAddr,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,
}

/// `windrose status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// `windrose requests`.
#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    // There is nothing else yet: exchanges of before are in the access log.
    /// Stay, and show exchanges as they end
    #[arg(long, required = true)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// Which connections or events to show.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only those of this workload, at either end
    #[arg(long, value_name = "NS/NAME")]
    pub(crate) workload: Option<String>,
    /// Only those whose other end is this workload or address
    #[arg(long, value_name = "NS/NAME|IP")]
    pub(crate) peer: Option<String>,
    /// Only this protocol
    #[arg(long)]
    pub(crate) protocol: Option<String>,
    /// Only ingress or egress, as the workload sees it
    #[arg(long)]
    pub(crate) direction: Option<String>,
    /// Only allow or deny
    #[arg(long)]
    pub(crate) verdict: Option<String>,
    /// Only this destination port
    #[arg(long)]
    pub(crate) port: Option<u16>,
}

/// `windrose connections`.
#[derive(Debug, Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// `windrose flows`.
#[derive(Debug, Args)]
pub(crate) struct FlowsArgs {
    /// Stay, and show events as they happen
    #[arg(long)]
    pub(crate) follow: bool,
    #[arg(long, help = "Only opened, closed, refused, ended_late or audited")]
    pub(crate) kind: Option<String>,
    /// Only refusals for this reason
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// `windrose top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What to show first
    #[arg(long, default_value = "pairs")]
    pub(crate) view: View,
    /// How often to ask the agent, such as 500ms or 2s; with JSON the time between the two samples
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// Have the kernel count runs and run time of programs meanwhile
    #[arg(long)]
    pub(crate) programs: bool,
    /// Only rows that contain this text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// Where the agent answers
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = parse_admin)]
    pub(crate) admin: SocketAddr,
    /// A live view, or one reading of all views
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,
}

/// `windrose profile`.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// How long to measure, 100ms to 10m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// Where to write it, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Where the agent answers
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = parse_admin)]
    pub(crate) admin: SocketAddr,
}

/// `windrose detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Also remove what another version of windrose has pinned
    #[arg(long)]
    pub(crate) force: bool,
    /// Name of the folder of pins below the BPF file system
    #[arg(long, value_name = "NAME", default_value = "windrose", hide = true)]
    pub(crate) pins: String,
}

/// How to show an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, for people.
    Text,
    /// JSON, for programs.
    Json,
}

/// How often `top` may ask.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(20)).contains(&time) {
        Ok(time)
    } else {
        Err("it must be 100ms to 20s".to_owned())
    }
}

/// How long `profile` may measure.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if (Duration::from_millis(100)..=Duration::from_mins(10)).contains(&time) {
        Ok(time)
    } else {
        Err("it must be 100ms to 10m".to_owned())
    }
}

/// A time such as `500ms`, `10s` or `2m`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: Option<u64> = text[..end].parse().ok();
    let time = number.and_then(|number| match &text[end..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    });
    time.ok_or_else(|| "it must be a whole number and a unit, such as 500ms, 10s or 2m".to_owned())
}

/// An address and a port.
pub(crate) fn parse_admin(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("it must be an IP address and a port, such as {DEFAULT_ADMIN} or [::1]:9901"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_admin_address_without_a_port_is_refused_with_an_example() {
        assert!(parse_admin("127.0.0.1").unwrap_err().contains("127.0.0.1:9901"));
    }

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("0s", 0)] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "10", "s", "1.5s", "-1s", "1h", "99999999999999999999s", "10 s", "18446744073709551615m"]
        {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(parse_interval("99ms").is_err() && parse_interval("21s").is_err());
    }

    #[test]
    fn golden_help_of_every_command() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let mut said = cli.render_long_help().to_string();
        for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help();
            let name = command.get_name().to_owned();
            said.extend(["\n=== windrose ", &name, " --help\n\n", &help.to_string()]);
            for command in command
                .get_subcommands_mut()
                .filter(|command| command.get_name() != "help" && !command.is_hide_set())
            {
                let help = command.render_long_help();
                said.extend([
                    "\n=== windrose ",
                    &name,
                    " ",
                    command.get_name(),
                    " --help\n\n",
                    &help.to_string(),
                ]);
            }
        }
        crate::output::golden::assert("help.txt", &said);
    }
}
