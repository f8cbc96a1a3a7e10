//! What the configuration says of the edge.

use std::path::Path;

use windrose_datapath::abi::{Address, EdgeLimit, EdgeSettings, LimitClass, PrefixKey, edge::MAX_LIMITS};
use windrose_datapath::{EdgeConfig, Mode};
use windrose_policy::place::Place;
use windrose_policy::settings::Setting;

use super::prefix;

mod balance;
mod list;

pub(crate) use balance::{BalanceChoices, CheckChoices};
pub(crate) use list::{ListChoice, MOST_BYTES, default_limits};

/// Every key there is.
pub(crate) const KEYS: &[&str] = &[
    "edge.interfaces[].name",
    "edge.interfaces[].mode",
    "edge.deny[].file",
    "edge.deny[].url",
    "edge.deny[].interval",
    "edge.deny[].timeout",
    "edge.deny[].max_bytes",
    "edge.deny[].ca_file",
    "edge.allow[]",
    "edge.bogons",
    "edge.private",
    "edge.limits[].protocol",
    "edge.limits[].prefix_v4",
    "edge.limits[].prefix_v6",
    "edge.limits[].rate",
    "edge.limits[].burst",
    "edge.syn_cookies.rate",
    "edge.syn_cookies.burst",
    "edge.balance.enabled",
    "edge.balance.node_addresses[]",
    "edge.balance.health_check.enabled",
    "edge.balance.health_check.interval",
    "edge.balance.health_check.timeout",
    "edge.balance.health_check.unhealthy_after",
    "edge.balance.health_check.healthy_after",
];

/// So that a packet costs a whole number of nanoseconds with an error below 1 %.
const MOST_PER_SECOND: u64 = 10_000_000;

/// `edge`: what is dropped at interfaces, before the network stack. Without interfaces there is no
/// edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EdgeChoices {
    /// `interfaces`: where, and by which hook.
    pub(crate) interfaces: Vec<InterfaceChoice>,
    /// `deny`: lists.
    pub(crate) lists: Vec<ListChoice>,
    /// `allow`: prefixes that are never denied nor limited.
    pub(crate) allow: Vec<PrefixKey>,
    /// `bogons`: drop sources that nobody can have; true.
    pub(crate) bogons: bool,
    /// `private`: drop private sources as well; false.
    pub(crate) private: bool,
    /// `limits`.
    pub(crate) limits: Vec<LimitChoice>,
    /// `syn_cookies`: SYNs for one address and port above which they are answered with cookies;
    /// none are.
    pub(crate) syn_cookies: Option<LimitChoice>,
    /// `balance`: whether what policy exposes is balanced here; it is not.
    pub(crate) balance: BalanceChoices,
}

/// `edge.interfaces[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterfaceChoice {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    place: Place,
}

/// `edge.limits[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitChoice {
    class: Option<LimitClass>,
    prefix_v4: u8,
    prefix_v6: u8,
    /// Packets, and nanoseconds for them.
    rate: Option<(u64, u64)>,
    burst: Option<u64>,
    place: Place,
}

impl Default for EdgeChoices {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            lists: Vec::new(),
            allow: Vec::new(),
            bogons: true,
            private: false,
            limits: Vec::new(),
            syn_cookies: None,
            balance: BalanceChoices::new(),
        }
    }
}

impl EdgeChoices {
    /// Whether there is to be an edge.
    pub(crate) const fn is_wanted(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// Takes one setting below `edge`. Paths are from `folder`, that of the configuration.
    pub(crate) fn set(&mut self, setting: &Setting, folder: &Path) -> Result<(), String> {
        let Setting { key, text, place } = setting;
        let key = key.strip_prefix("edge.").unwrap_or(key);
        let (list, field) = match key.split_once('[') {
            Some((list, rest)) => (list, rest.split_once("].").map_or("", |(_, field)| field)),
            None => (key, ""),
        };
        match (list, field) {
            ("bogons", _) => self.bogons = boolean("edge.bogons", text)?,
            ("private", _) => self.private = boolean("edge.private", text)?,
            ("allow", _) => self.allow.push(prefix::parse(text)?),
            (key, _) if key.starts_with("balance.") => {
                self.balance.set(key.trim_start_matches("balance."), text, place)?;
            }
            ("interfaces", "") => self.interfaces.push(InterfaceChoice {
                name: String::new(),
                mode: Mode::Auto,
                place: place.clone(),
            }),
            ("interfaces", field) => {
                if let Some(interface) = self.interfaces.last_mut() {
                    interface.set(field, text)?;
                }
            }
            ("deny", "") => self.lists.push(ListChoice::new(place.clone())),
            ("deny", field) => {
                if let Some((list, before)) = self.lists.split_last_mut() {
                    list.set(field, text, place, folder)?;
                    // URLs that differ in what is not shown of them.
                    let shown = list.name.clone();
                    let mut number = 1;
                    while before.iter().any(|other| other.name == list.name && !other.is(list)) {
                        number += 1;
                        list.name = format!("{shown} ({number})");
                    }
                }
            }
            ("syn_cookies.rate" | "syn_cookies.burst", _) => {
                let cookies = self.syn_cookies.get_or_insert_with(|| LimitChoice::new(place.clone()));
                cookies.set(list.trim_start_matches("syn_cookies."), text)?;
            }
            ("limits", "") => self.limits.push(LimitChoice::new(place.clone())),
            (_, field) => {
                if let Some(limit) = self.limits.last_mut() {
                    limit.set(field, text)?;
                }
            }
        }
        Ok(())
    }

    /// What is missing or said twice, with its place.
    pub(crate) fn faults(&self) -> Vec<(Place, String)> {
        let mut faults = Vec::new();
        let mut fault = |place: &Place, message: String| faults.push((place.clone(), message));
        for (index, interface) in self.interfaces.iter().enumerate() {
            if interface.name.is_empty() {
                fault(
                    &interface.place,
                    format!("`edge.interfaces[{index}]` has no `name`, which is required"),
                );
            } else if self.interfaces[..index].iter().any(|before| before.name == interface.name) {
                fault(&interface.place, format!("interface `{}` is named twice", interface.name));
            }
        }
        for (index, list) in self.lists.iter().enumerate() {
            if let Some((place, message)) = list.fault(index) {
                fault(&place, message);
            } else if !list.name.is_empty() && self.lists[..index].iter().any(|before| before.is(list)) {
                fault(&list.place, format!("list `{}` is named twice", list.name));
            }
        }
        for (index, limit) in self.limits.iter().enumerate() {
            if index == MAX_LIMITS as usize {
                fault(&limit.place, format!("there are more than {MAX_LIMITS} limits"));
            }
            for (field, is_missing) in [("protocol", limit.class.is_none()), ("rate", limit.rate.is_none())] {
                if is_missing {
                    fault(
                        &limit.place,
                        format!("`edge.limits[{index}]` has no `{field}`, which is required"),
                    );
                }
            }
        }
        if let Some(cookies) = self.syn_cookies.as_ref().filter(|cookies| cookies.rate.is_none()) {
            fault(&cookies.place, "`edge.syn_cookies` has no `rate`, which is required".to_owned());
        }
        for (place, message) in self.balance.faults() {
            fault(&place, message);
        }
        if !self.is_wanted() {
            let lists = self.lists.iter().map(|list| &list.place);
            let limits = self.limits.iter().chain(&self.syn_cookies).map(|limit| &limit.place);
            if let Some(place) = lists.chain(limits).chain(self.balance.place()).next() {
                fault(place, "`edge` names no `interfaces`, so that nothing of it can be done".to_owned());
            }
        }
        faults
    }

    /// As the data path takes it.
    pub(crate) fn compile(&self) -> EdgeConfig {
        let mut settings = EdgeSettings::ZERO;
        settings.flags = if self.bogons { EdgeSettings::BOGONS } else { 0 }
            | if self.private { EdgeSettings::PRIVATE } else { 0 };
        for (slot, limit) in settings.limits.iter_mut().zip(&self.limits) {
            *slot = limit.compile();
            settings.limit_count += 1;
        }
        if let Some(cookies) = &self.syn_cookies {
            settings.flags |= EdgeSettings::COOKIES;
            settings.cookies = cookies.compile();
        }
        if self.balance.is_wanted() {
            settings.flags |= EdgeSettings::BALANCE;
        }
        EdgeConfig { settings, allowed: self.allow.clone() }
    }
}

impl InterfaceChoice {
    fn set(&mut self, field: &str, text: &str) -> Result<(), String> {
        if field == "name" {
            // IFNAMSIZ, with its NUL.
            if text.is_empty() || text.len() > 15 || text.contains(['/', ' ']) {
                return Err(format!("`{}` is no name of an interface", prefix::short(text)));
            }
            text.clone_into(&mut self.name);
            return Ok(());
        }
        self.mode = match text {
            "auto" => Mode::Auto,
            "native" => Mode::Native,
            "generic" => Mode::Generic,
            _ => return Err(format!("mode is `{text}`; it must be `auto`, `native` or `generic`")),
        };
        Ok(())
    }
}

impl LimitChoice {
    const fn new(place: Place) -> Self {
        Self { class: None, prefix_v4: 32, prefix_v6: 64, rate: None, burst: None, place }
    }

    fn set(&mut self, field: &str, text: &str) -> Result<(), String> {
        let number = |most: u64| {
            let number = text.parse::<u64>().ok().filter(|number| *number <= most);
            number.ok_or_else(|| format!("{field} is `{text}`; it must be a whole number up to {most}"))
        };
        match field {
            "protocol" => {
                let class = LimitClass::ALL.iter().find(|class| class.as_str() == text);
                self.class = Some(*class.ok_or_else(|| {
                    format!("protocol is `{text}`; it must be `syn`, `udp`, `icmp` or `all`")
                })?);
            }
            "prefix_v4" => self.prefix_v4 = u8::try_from(number(32)?).unwrap_or(32),
            "prefix_v6" => self.prefix_v6 = u8::try_from(number(128)?).unwrap_or(128),
            "rate" => self.rate = Some(parse_rate(text)?),
            _ => {
                let burst = number(MOST_PER_SECOND)?;
                if burst == 0 {
                    return Err("burst is 0: nothing would ever pass".to_owned());
                }
                self.burst = Some(burst);
            }
        }
        Ok(())
    }

    fn compile(&self) -> EdgeLimit {
        let (packets, interval_ns) = self.rate.unwrap_or((1, 1));
        let cost_ns = (interval_ns / packets).max(1);
        // What comes in a second, unless said otherwise.
        let burst = self.burst.unwrap_or((1_000_000_000 / cost_ns).max(1));
        let mask_v6 = u128::MAX.checked_shl(128 - u32::from(self.prefix_v6)).unwrap_or(0);
        let mask_v4 = u32::MAX.checked_shl(32 - u32::from(self.prefix_v4)).unwrap_or(0);
        EdgeLimit {
            cost_ns,
            burst_ns: cost_ns.saturating_mul(burst),
            mask_v6: Address::from_bytes(mask_v6.to_be_bytes()),
            mask_v4: u32::from_ne_bytes(mask_v4.to_be_bytes()),
            class: self.class.unwrap_or(LimitClass::All) as u32,
        }
    }
}

/// `100/s` or `10/m`: packets, and nanoseconds for them.
fn parse_rate(text: &str) -> Result<(u64, u64), String> {
    let wrong = || {
        format!(
            "rate is `{}`; it must be such as `100/s` or `10/m`, from 1/m to {MOST_PER_SECOND}/s",
            prefix::short(text)
        )
    };
    let (packets, unit) = text.split_once('/').ok_or_else(wrong)?;
    let interval_ns = match unit {
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return Err(wrong()),
    };
    let packets = packets.parse::<u64>().map_err(|_| wrong())?;
    if packets == 0 || packets > MOST_PER_SECOND {
        return Err(wrong());
    }
    Ok((packets, interval_ns))
}

fn boolean(key: &str, text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{key} is `{text}`; it must be `true` or `false`")),
    }
}

#[cfg(test)]
mod tests {
    use windrose_policy::settings;
    use windrose_policy::source::Source;

    use super::*;

    fn read(text: &str) -> (EdgeChoices, Vec<String>) {
        let source = Source { name: "agent.yaml".to_owned(), text: text.to_owned() };
        let mut choices = EdgeChoices::default();
        let mut faults = Vec::new();
        for setting in settings::read(&source, KEYS).unwrap() {
            if let Err(message) = choices.set(&setting, Path::new("/etc/windrose")) {
                faults.push(format!("{}: {message}", setting.place));
            }
        }
        faults.extend(choices.faults().iter().map(|(place, message)| format!("{place}: {message}")));
        (choices, faults)
    }

    #[test]
    fn every_key_is_read() {
        let text = "edge:\n  interfaces: [{name: eth0}, {name: eth1.7, mode: generic}]\n  \
                    deny: [{file: deny.txt}, {file: /srv/feed}]\n  allow: [192.0.2.0/24, '2001:db8::/32']\n  \
                    bogons: false\n  private: true\n  \
                    syn_cookies: {rate: 1000/s}\n  \
                    limits: [{protocol: syn, rate: 100/s, burst: 200}, {protocol: all, prefix_v4: 24, prefix_v6: 48, rate: 30/m}]\n";
        let (choices, faults) = read(text);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(choices.interfaces[1].mode, Mode::Generic);
        assert_eq!(choices.lists[0].path, Path::new("/etc/windrose/deny.txt"));
        assert_eq!(choices.lists[1].path, Path::new("/srv/feed"));
        let EdgeConfig { settings, allowed } = choices.compile();
        assert_eq!(allowed.len(), 2);
        let flags = EdgeSettings::PRIVATE | EdgeSettings::COOKIES;
        assert_eq!((settings.flags, settings.limit_count), (flags, 2));
        assert_eq!((settings.cookies.cost_ns, settings.cookies.burst_ns), (1_000_000, 1_000_000_000));
        let [syn, all, ..] = settings.limits;
        assert_eq!(
            (syn.cost_ns, syn.burst_ns, syn.class),
            (10_000_000, 2_000_000_000, LimitClass::Syn as u32)
        );
        assert_eq!((all.cost_ns, all.burst_ns), (2_000_000_000, 2_000_000_000));
        assert_eq!(all.mask_v4.to_ne_bytes(), [255, 255, 255, 0]);
        assert_eq!(all.mask_v6.to_bytes()[..7], [255, 255, 255, 255, 255, 255, 0]);
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let text = "edge:\n  interfaces: [{mode: fast}, {name: a}, {name: a}]\n  deny: [{}]\n  allow: [here]\n  \
                    limits: [{protocol: tcp, rate: 1, burst: 0}, {prefix_v4: 33}]\n";
        let (_, faults) = read(text);
        assert_eq!(
            faults,
            [
                "agent.yaml:2:23: mode is `fast`; it must be `auto`, `native` or `generic`",
                "agent.yaml:4:11: `here` is no IP address or prefix such as 192.0.2.7 or 2001:db8::/32",
                "agent.yaml:5:23: protocol is `tcp`; it must be `syn`, `udp`, `icmp` or `all`",
                "agent.yaml:5:34: rate is `1`; it must be such as `100/s` or `10/m`, from 1/m to 10000000/s",
                "agent.yaml:5:44: burst is 0: nothing would ever pass",
                "agent.yaml:5:60: prefix_v4 is `33`; it must be a whole number up to 32",
                "agent.yaml:2:16: `edge.interfaces[0]` has no `name`, which is required",
                "agent.yaml:2:41: interface `a` is named twice",
                "agent.yaml:3:10: `edge.deny[0]` has no `file` and no `url`, one of which is required",
                "agent.yaml:5:12: `edge.limits[0]` has no `protocol`, which is required",
                "agent.yaml:5:12: `edge.limits[0]` has no `rate`, which is required",
                "agent.yaml:5:48: `edge.limits[1]` has no `protocol`, which is required",
                "agent.yaml:5:48: `edge.limits[1]` has no `rate`, which is required",
            ]
        );
    }

    #[test]
    fn lists_by_url_are_read_and_their_secrets_kept() {
        let text = "edge:\n  interfaces: [{name: a}]\n  deny:\n    \
                    - {url: 'https://me:pw@a.example/l?k=1', interval: 30m, timeout: 5s, max_bytes: 7, ca_file: ca.pem}\n    \
                    - {url: 'https://a.example/l?k=2'}\n    - {url: 'http://a.example/l'}\n";
        let (choices, faults) = read(text);
        assert_eq!(faults, Vec::<String>::new());
        let names: Vec<_> = choices.lists.iter().map(|list| list.name.as_str()).collect();
        let shown = "https://a.example/l?...";
        assert_eq!(names, [shown, &format!("{shown} (2)"), "http://a.example/l"]);
        let list = &choices.lists[0];
        assert_eq!(
            (list.interval.as_secs(), list.limits.timeout.as_secs(), list.limits.max_bytes),
            (1800, 5, 7)
        );
        assert_eq!(list.limits.ca_file.as_deref(), Some(Path::new("/etc/windrose/ca.pem")));
        assert!(!format!("{choices:?}").contains("pw"));

        let text = "edge:\n  interfaces: [{name: a}]\n  deny:\n    - {file: 'https://me:pw@a/l'}\n    \
                    - {url: 'ftp://me:pw@a/l'}\n    - {file: x, url: 'http://a/l'}\n    - {file: y, interval: 1h}\n    \
                    - {url: 'http://b/l', interval: 8d, max_bytes: 0}\n    - {url: 'http://b/l'}\n";
        let (_, faults) = read(text);
        assert_eq!(
            faults,
            [
                "agent.yaml:4:14: file is a URL; did you mean `url`?",
                "agent.yaml:5:13: url is wrong: it is no URL such as https://lists.example/drop.txt",
                "agent.yaml:8:37: interval is `8d`; it must be from 1s to 7d",
                "agent.yaml:8:52: max_bytes is `0`; it must be a whole number from 1 to 1073741824",
                "agent.yaml:6:22: `edge.deny[2]` has a `file` and a `url`: they are two lists",
                "agent.yaml:7:27: `edge.deny[3]` is a file, of which there is nothing to be fetched",
                "agent.yaml:9:7: list `http://b/l` is named twice",
            ]
        );
    }

    #[test]
    fn balancing_is_read_and_its_faults_are_named() {
        let text = "edge:\n  interfaces: [{name: a}]\n  balance:\n    enabled: true\n    \
                    node_addresses: [192.0.2.7, '2001:db8::7']\n    \
                    health_check: {interval: 5s, timeout: 2s, unhealthy_after: 4, healthy_after: 1}\n";
        let (choices, faults) = read(text);
        assert!(faults.is_empty(), "{faults:?}");
        assert!(choices.balance.is_wanted());
        assert_eq!(choices.balance.node_addresses.as_ref().map(Vec::len), Some(2));
        let check = choices.balance.check;
        assert_eq!((check.interval.as_secs(), check.timeout.as_secs()), (5, 2));
        assert_eq!((check.unhealthy_after, check.healthy_after, check.is_enabled), (4, 1, true));
        assert_eq!(choices.compile().settings.flags, EdgeSettings::BOGONS | EdgeSettings::BALANCE);

        let text = "edge:\n  interfaces: [{name: a}]\n  balance:\n    node_addresses: [127.0.0.1, here]\n    \
                    health_check: {interval: 0s, timeout: 9s, healthy_after: 0, enabled: perhaps}\n";
        let (choices, faults) = read(text);
        assert!(!choices.balance.is_wanted());
        assert_eq!(
            faults,
            [
                "agent.yaml:4:22: `127.0.0.1` is no address of this node that the outside could ask for, such as \
                 192.0.2.7",
                "agent.yaml:4:33: `here` is no address of this node that the outside could ask for, such as \
                 192.0.2.7",
                "agent.yaml:5:30: edge.balance.health_check.interval is `0s`; it must be from 1s to 1h",
                "agent.yaml:5:62: edge.balance.health_check.healthy_after is `0`; it must be a whole number from \
                 1 to 100",
                "agent.yaml:5:74: edge.balance.health_check.enabled is `perhaps`; it must be `true` or `false`",
                "agent.yaml:4:22: `edge.balance` has no `enabled`, which is required",
                "agent.yaml:5:43: edge.balance.health_check.timeout is 9s, longer than the interval of 2s",
            ]
        );
        let (_, faults) = read("edge: {balance: {enabled: true}}\n");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("names no `interfaces`"), "{faults:?}");
    }

    #[test]
    fn an_edge_without_interfaces_is_a_slip() {
        let (_, faults) = read("edge: {syn_cookies: {burst: 1}}\n");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("agent.yaml:1:29: `edge.syn_cookies` has no `rate`"), "{faults:?}");
        let (_, faults) = read("edge: {deny: [{file: x}]}\n");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("names no `interfaces`"), "{faults:?}");
    }
}
