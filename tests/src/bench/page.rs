//! docs/benchmarks.md: a head that is always the same, and a section for each benchmark, of which each
//! rewrites its own.

use std::fs;

use anyhow::{Context as _, Result};

use super::options::Options;

/// The benchmarks, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bench {
    Policy,
    Service,
    Edge,
    Sidecar,
    Gateway,
}

impl Bench {
    const ALL: [Self; 5] = [Self::Policy, Self::Service, Self::Edge, Self::Sidecar, Self::Gateway];

    /// As it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Service => "service",
            Self::Edge => "edge",
            Self::Sidecar => "sidecar",
            Self::Gateway => "gateway",
        }
    }

    /// Heading of its section.
    const fn title(self) -> &'static str {
        match self {
            Self::Policy => "Policy",
            Self::Service => "Services",
            Self::Edge => "The edge",
            Self::Sidecar => "Sidecars",
            Self::Gateway => "The gateway",
        }
    }
}

/// Puts a section and its plot into the documentation.
pub(crate) fn write(bench: Bench, section: &str, plot: &str) -> Result<()> {
    let folder = Options::docs_folder();
    let (page, image) =
        (folder.join("benchmarks.md"), folder.join(format!("benchmarks/{}.svg", bench.name())));
    fs::create_dir_all(folder.join("benchmarks"))?;
    fs::write(&image, plot).with_context(|| format!("cannot write {}", image.display()))?;
    let before = fs::read_to_string(&page).unwrap_or_default();
    fs::write(&page, with(&before, bench, section))
        .with_context(|| format!("cannot write {}", page.display()))?;
    eprintln!("wrote {}", page.display());
    Ok(())
}

/// The page with another section of one benchmark.
fn with(page: &str, bench: Bench, section: &str) -> String {
    let mut text = HEAD.to_owned();
    for other in Bench::ALL {
        let heading = format!("\n## {}\n", other.title());
        let body = if other == bench {
            format!("\n{}\n", section.trim())
        } else {
            let body = page.split_once(&heading).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
            body.map_or_else(
                || format!("\nNot measured yet: `cargo xtask bench {} --write`.\n", other.name()),
                |body| format!("\n{}\n", body.trim()),
            )
        };
        text.push_str(&heading);
        text.push_str(&body);
    }
    text
}

const HEAD: &str = "\
# Benchmarks

What Windrose costs, beside doing without and beside other tools that do the same. Each section is written \
by its benchmark, which measures everything that it compares in one run:

```console
# cargo xtask bench policy     # enforcement: no agent, nftables
# cargo xtask bench service    # balancing: none, nftables DNAT
# cargo xtask bench edge       # a frame at the interface; through the edge: nftables DNAT, haproxy
# cargo xtask bench sidecar    # messages and writes of all sizes: plain TCP, haproxy at both ends
# cargo xtask bench gateway    # requests through the gateway: haproxy, nginx
```

Each prints its tables, and with `--write` replaces its section and plot here. `--quick` is a short run to see \
that it works; `cargo xtask bench` alone lists the options. They need root, an otherwise idle machine and no \
other agent on it (if there is one, the section says so). What they call is installed if it is missing: \
packages `iproute2`, `nftables`, `haproxy`, `nginx-light` and `nghttp2-client` (Debian starts haproxy and nginx as services when it installs them). Everything happens in network namespaces that end with the run.

## How

- **In turns.** A round measures every case once, with two measurements of the baseline in it; the next round \
goes the other way. Numbers are medians of the rounds. Ratios are taken within each round, against the mean of \
its two measurements of the baseline. The row *again* is one of them against the other: it shows how much is \
noise.
- **Loads.** *Connections*: connect, one byte there and back, close, one after the other. *Request-response*: \
64 bytes there and back on one connection. *Bulk*: one stream in writes of 64 KiB, timed by the receiver. \
One thread each, TCP, IPv4.
- **CPU** is the run time of both ends, of what is between them and of ksoftirqd, from the scheduler. It \
includes the work that the kernel does for them in soft interrupts. *Agent* is what the agent itself uses per \
connection, to read its events.
- **Windrose** is the agent as it is installed, all its events and metrics on.
- The speed columns say what one client gets; the CPU columns say what it costs, and are the steadier ones on \
a busy machine. In bulk, differences below a tenth are noise.
- **Targets.** The ratio is of speed, in each round anew; \"within noise\" means that the required ratio lies \
in the middle half of the rounds, so that another run may say otherwise.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_section_is_replaced() {
        let first = with("", Bench::Policy, "old policy\n\n### Targets\n\nmet\n");
        assert!(first.contains("\n## Services\n\nNot measured yet"), "{first}");
        let second = with(&first, Bench::Service, "services");
        assert!(
            second.contains("\n## Policy\n\nold policy\n\n### Targets\n\nmet\n\n## Services\n\nservices\n")
        );
        let third = with(&second, Bench::Policy, "new policy");
        assert!(third.contains("\n## Policy\n\nnew policy\n\n## Services\n\nservices\n\n"), "{third}");
        assert_eq!(with(&third, Bench::Policy, "new policy"), third);
    }
}
