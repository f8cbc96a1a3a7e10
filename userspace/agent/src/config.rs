//! The agent's configuration file.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use windrose_datapath::{Capacities, Manner};
use windrose_policy::fault::{Fault, Severity};
use windrose_policy::place::Place;
use windrose_policy::settings::{self, Setting};
use windrose_policy::source::Source;

use crate::cli::{DEFAULT_ADMIN, parse_admin};
use crate::edge::{self, EdgeChoices};
use crate::north;

/// Every key there is, but for those of the edge and the gateway.
const KEYS: &[&str] = &[
    "admin",
    "audit",
    "capacities.*",
    "flow_idle_seconds",
    "refused_ingress",
    "statistics",
    "profile",
    "log.level",
    "log.format",
    "state",
];

/// A larger file is no configuration.
const FILE_BYTES: u64 = 1 << 20;

/// How the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `admin`: where the agent answers operators; 127.0.0.1:9901. There is no authentication:
    /// keep it on a loopback address.
    pub(crate) admin: SocketAddr,
    /// `audit`: decide and report, and let everything pass; false.
    pub(crate) audit: bool,
    /// `capacities`: entries that each kernel map has room for, by the map's name in lower case.
    /// Maps that are pinned keep theirs: detach before a change.
    pub(crate) capacities: Capacities,
    /// `flow_idle_seconds`: how long a UDP, SCTP or ICMP flow without traffic is remembered, 1 to
    /// 86,400; 60.
    pub(crate) flow_idle: Duration,
    /// `refused_ingress`: how refused ingress is answered; drop.
    pub(crate) refused_ingress: RefusedIngress,
    /// `statistics`: have the kernel count runs and run time of programs, about 75 ns a run; false.
    pub(crate) statistics: bool,
    /// `profile`: time verdicts and look-ups for `/metrics`; false.
    pub(crate) profile: bool,
    /// `log`: what is logged and how.
    pub(crate) log: Log,
    /// `state`: the folder for what is to outlive the agent beside the kernel's half: copies of
    /// fetched lists. What systemd says (`StateDirectory=`), or /var/lib/windrose.
    pub(crate) state: PathBuf,
    /// `edge`: what is dropped at interfaces; nothing.
    pub(crate) edge: EdgeChoices,
    /// `gateway`: how the gateway runs, where policy has one.
    pub(crate) gateway: north::Choices,
}

/// How ingress that policy refuses is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefusedIngress {
    /// Not at all
    #[default]
    Drop,
    /// As if nobody listened: TCP by a reset, UDP by ICMP port unreachable
    Reset,
    /// By ICMP administratively prohibited
    Unreachable,
}

impl RefusedIngress {
    /// The manner of the answers; `None` if there are none.
    pub(crate) const fn manner(self) -> Option<Manner> {
        match self {
            Self::Drop => None,
            Self::Reset => Some(Manner::Reset),
            Self::Unreachable => Some(Manner::Unreachable),
        }
    }

    /// As it is written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// `log.level`: error, warn, info, debug or trace; info. Also per module, as
    /// `windrose=debug,warn`.
    pub(crate) level: String,
    /// `log.format`: text or json; text.
    pub(crate) format: LogFormat,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admin: parse_admin(DEFAULT_ADMIN).unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 9901))),
            audit: false,
            capacities: Capacities::default(),
            flow_idle: Duration::from_mins(1),
            refused_ingress: RefusedIngress::Drop,
            statistics: false,
            profile: false,
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
            state: state_of(std::env::var_os("STATE_DIRECTORY").as_deref()),
            edge: EdgeChoices::default(),
            gateway: north::Choices::default(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Every fault with its place.
    pub(crate) fn read(path: &Path) -> Result<Self, Vec<Fault>> {
        let name = path.display().to_string();
        let whole =
            |message: String| vec![fault(Place { file: name.as_str().into(), line: 0, column: 0 }, message)];
        let length = fs::metadata(path).map_err(|error| whole(format!("cannot read it: {error}")))?.len();
        if length > FILE_BYTES {
            return Err(whole(format!("{length} bytes are no configuration: the most is {FILE_BYTES}")));
        }
        let text = fs::read_to_string(path).map_err(|error| whole(format!("cannot read it: {error}")))?;
        Self::parse(&Source { name, text }, path.parent().unwrap_or(Path::new("")))
    }

    /// `folder` is that of the file: paths in it are from there.
    fn parse(source: &Source, folder: &Path) -> Result<Self, Vec<Fault>> {
        let mut config = Self::default();
        let mut faults = Vec::new();
        for setting in settings::read(source, &[KEYS, edge::KEYS, north::KEYS].concat())? {
            let set = if setting.key.starts_with("edge.") {
                config.edge.set(&setting, folder)
            } else if setting.key.starts_with("gateway.") {
                config.gateway.set(&setting.key, &setting.text)
            } else {
                config.set(&setting, folder)
            };
            if let Err(message) = set {
                faults.push(fault(setting.place, message));
            }
        }
        faults.extend(config.edge.faults().into_iter().map(|(place, message)| fault(place, message)));
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    fn set(&mut self, setting: &Setting, folder: &Path) -> Result<(), String> {
        let Setting { key, text, .. } = setting;
        match key.as_str() {
            "admin" => self.admin = parse_admin(text).map_err(|why| format!("admin is `{text}`: {why}"))?,
            "audit" => self.audit = boolean(key, text)?,
            "statistics" => self.statistics = boolean(key, text)?,
            "profile" => self.profile = boolean(key, text)?,
            "flow_idle_seconds" => match text.parse() {
                Ok(seconds @ 1..=86_400) => self.flow_idle = Duration::from_secs(seconds),
                _ => return Err(format!("{key} is `{text}`; it must be a whole number from 1 to 86400")),
            },
            "refused_ingress" => {
                self.refused_ingress = RefusedIngress::from_str(text, false)
                    .map_err(|_| format!("{key} is `{text}`; it must be `drop`, `reset` or `unreachable`"))?;
            }
            "state" if text.is_empty() => return Err("state is empty; it must be a folder".to_owned()),
            "state" => self.state = folder.join(text),
            "log.level" => self.log.level.clone_from(text),
            "log.format" => {
                self.log.format = match text.as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return Err(format!("{key} is `{text}`; it must be `text` or `json`")),
                };
            }
            _ => {
                let map = key.strip_prefix("capacities.").unwrap_or(key);
                let entries = text
                    .parse()
                    .map_err(|_| format!("{key} is `{text}`; it must be a whole number of entries"))?;
                self.capacities.set(map, entries)?;
            }
        }
        Ok(())
    }
}

/// The first folder of `STATE_DIRECTORY` (systemd.exec(5)), or the usual one.
fn state_of(folders: Option<&OsStr>) -> PathBuf {
    let first = folders.and_then(|folders| std::env::split_paths(folders).next());
    first.filter(|folder| folder.is_absolute()).unwrap_or_else(|| PathBuf::from("/var/lib/windrose"))
}

fn boolean(key: &str, text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{key} is `{text}`; it must be `true` or `false`")),
    }
}

fn fault(place: Place, message: String) -> Fault {
    Fault { place, severity: Severity::Error, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let source = Source { name: "agent.yaml".to_owned(), text: text.to_owned() };
        Config::parse(&source, Path::new(""))
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_key_is_read() {
        let text = "admin: '[::1]:1'\naudit: true\nstatistics: true\nprofile: true\nflow_idle_seconds: 5\n\
                    state: kept\nrefused_ingress: reset\ncapacities: {rules: 10}\nlog: {level: debug, format: json}\n\
                    gateway: {workers: 3, access_log: /var/log/a, drain_seconds: 5}\n";
        let config = parse(text).unwrap();
        assert_eq!(config.admin.to_string(), "[::1]:1");
        assert!(config.audit && config.statistics && config.profile);
        assert_eq!(config.flow_idle, Duration::from_secs(5));
        assert_eq!(config.state, Path::new("kept"));
        assert_eq!(config.refused_ingress, RefusedIngress::Reset);
        assert_eq!(config.capacities.of("RULES"), 10);
        assert_eq!((config.gateway.workers, config.gateway.drain), (3, Duration::from_secs(5)));
        assert_eq!(config.gateway.access_log.as_deref(), Some(Path::new("/var/log/a")));
        assert_eq!(config.log, Log { level: "debug".to_owned(), format: LogFormat::Json });
    }

    #[test]
    fn what_systemd_says_is_where_state_is_kept() {
        assert_eq!(state_of(Some(OsStr::new("/a:/b"))), Path::new("/a"));
        for none in [None, Some(OsStr::new("")), Some(OsStr::new("relative"))] {
            assert_eq!(state_of(none), Path::new("/var/lib/windrose"));
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let text = "admin: here\naudit: yes\ncapacities: {rulez: 1, flows: 0}\nrefused_ingress: deny\n";
        let faults = parse(text).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(
            faults[0].starts_with("agent.yaml:1:8: admin is `here`: it must be an IP address and a port")
        );
        assert_eq!(faults[1], "agent.yaml:2:8: audit is `yes`; it must be `true` or `false`");
        assert!(faults[2].starts_with("agent.yaml:3:21: no map `rulez`; there are"), "{}", faults[2]);
        assert!(faults[3].starts_with("agent.yaml:3:31: capacity of flows is 0"), "{}", faults[3]);
        assert_eq!(
            faults[4],
            "agent.yaml:4:18: refused_ingress is `deny`; it must be `drop`, `reset` or `unreachable`"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        let faults = parse("flow_idle_second: 1\n").unwrap_err();
        assert_eq!(
            faults,
            [
                "agent.yaml:1:1: unknown field `flow_idle_second` of the configuration; did you mean `flow_idle_seconds`?"
            ]
        );
    }
}
