//! `windrose requests`: exchanges of the gateway as they end.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::cli::{AskArgs, Format, RequestsArgs};
use crate::client;
use crate::clock::short;
use crate::output::{self, Paint, bytes};

/// A line of the access log, as far as people are shown it.
#[derive(Debug, Deserialize)]
struct Exchange {
    time_ms: u64,
    client: String,
    method: String,
    host: String,
    path: String,
    status: u16,
    route: Option<String>,
    place: Option<String>,
    upstream: Option<String>,
    refusal: Option<String>,
    blame: Option<String>,
    sent_bytes: u64,
    cut_short: bool,
    total_us: u64,
}

/// What a follower reads.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Exchange(Box<Exchange>),
    Lost { lost: u64 },
}

/// Follows until the agent ends or nobody reads.
pub(crate) fn run(args: &RequestsArgs) -> Result<()> {
    let AskArgs { admin, output } = args.ask;
    let paint = Paint::for_stdout();
    client::follow(admin, "/requests", &[("follow", String::new())], |line| {
        if output == Format::Json {
            return output::print(&(String::from_utf8_lossy(line) + "\n"));
        }
        match serde_json::from_slice(line)
            .context("the agent writes a line that this version does not know")?
        {
            Line::Exchange(exchange) => output::print(&text(&exchange, paint)),
            Line::Lost { lost } => output::print(&format!("... {lost} lost: too slow\n")),
        }
    })
}

fn text(exchange: &Exchange, paint: Paint) -> String {
    let Exchange { method, host, path, client, .. } = exchange;
    let status = match exchange.status {
        // The client went before there was one.
        0 => "-".to_owned(),
        status => status.to_string(),
    };
    let status = paint.status(exchange.status, &format!("{status:3}"));
    let of_day = exchange.time_ms % 86_400_000;
    let time = format!(
        "{:02}:{:02}:{:02}.{:03}",
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1000 % 60,
        of_day % 1000
    );
    let by = match (&exchange.route, &exchange.place) {
        (Some(route), Some(place)) => format!("  {route} ({place})"),
        _ => "  no route".to_owned(),
    };
    let to = exchange.upstream.as_ref().map(|to| format!(" -> {to}")).unwrap_or_default();
    let refusal = match (&exchange.refusal, &exchange.blame) {
        (Some(refusal), Some(blame)) => format!("  {refusal} (blame: {blame})"),
        _ => String::new(),
    };
    let cut = if exchange.cut_short { "  cut short" } else { "" };
    // Exact up to 285 years.
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let took = short(exchange.total_us as f64 / 1e6);
    format!(
        "{time}  {status}  {client} {method} {host}{path}{by}{to}{refusal}  {} in {took}{cut}\n",
        bytes(exchange.sent_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_one_line_that_names_its_rule() {
        let line = r#"{"time_ms":3723004,"client":"10.0.0.1:5","method":"GET","host":"shop.example","path":"/a",
            "status":503,"gateway":"shop/g","listener":"web","route":"shop/r","rule":0,"place":"shop.yaml:7:5",
            "principal":null,"upstream":"10.0.0.2:80","tries":3,"refusal":"connect","blame":"upstream",
            "sent_bytes":31,"cut_short":false,"route_us":1,"response_us":2,"total_us":1500}"#;
        let exchange: Exchange = serde_json::from_str(line).unwrap();
        assert_eq!(
            text(&exchange, Paint::off()),
            "01:02:03.004  503  10.0.0.1:5 GET shop.example/a  shop/r (shop.yaml:7:5) -> 10.0.0.2:80  connect (blame: \
             upstream)  31 B in 1ms\n"
        );
    }
}
