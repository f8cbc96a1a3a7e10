//! `windrose top`: a live view of connections, rates, refusals and programs, or one reading as JSON.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Format, TopArgs};
use crate::output::{self, Paint};
use crate::{client, statistics};

mod draw;
mod figures;
mod gather;
mod model;
mod rates;
mod sample;
mod services;
mod table;
mod terminal;

pub(crate) use gather::{LISTED, sample};
use model::{Key, Model, Next};
use rates::{Rates, Reading};
use sample::Sample;
use terminal::Screen;

/// Events that may wait to be drawn; whoever has more waits.
const EVENTS: usize = 64;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum View {
    /// Who talks to whom: connections, rates, round-trip times, refusals
    Pairs,
    /// Live connections and flows
    Connections,
    /// What was refused, by reason and rule
    Drops,
    /// What programs cost
    Programs,
    /// Services and their endpoints: connections, refusals
    Services,
}

/// What the view waits for.
#[derive(Debug)]
enum Event {
    /// A key was pressed.
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// The agent has answered, or not.
    Read(Result<Box<Reading>, String>),
    /// A signal says that it is over, or the terminal is gone.
    Ended,
}

/// Shows it until a key or a signal ends it, or once.
pub(crate) fn run(args: TopArgs) -> Result<()> {
    let mut rates = Rates::default();
    let first = rates.next(ask(&args, args.programs)?);
    if args.output == Format::Json {
        sleep(args.interval);
        return output::print_json(&rates.next(ask(&args, args.programs)?));
    }
    let mut model = Model::new(args.admin.to_string(), args.view);
    model.filter.clone_from(&args.filter);
    model.wants_statistics = args.programs;
    model.is_coloured = Paint::for_stdout().is_on();
    model.take(Ok(first));
    watch(args, rates, &mut model)
}

fn watch(args: TopArgs, rates: Rates, model: &mut Model) -> Result<()> {
    let mut screen = Screen::enter()?;
    let (events, waiting) = sync_channel(EVENTS);
    let (wish, wishes) = sync_channel(EVENTS);
    spawn("keys", &events, |events| terminal::read_keys(&events))?;
    spawn("signals", &events, |events| await_signal(&events))?;
    spawn("samples", &events, move |events| read_samples(&args, rates, &wishes, &events))?;
    let mut height = screen.show(model)?;
    while let Ok(event) = waiting.recv() {
        match event {
            Event::Key(key) => {
                let before = model.wants_statistics;
                if model.press(key, draw::page(model, height)) == Next::Quit {
                    break;
                }
                if model.wants_statistics != before {
                    // A full queue: whoever reads it is slow, and asks again in time.
                    let _ = wish.try_send(model.wants_statistics);
                }
            }
            Event::Resized => {}
            Event::Read(reading) => model.take(reading.map(|reading| *reading)),
            Event::Ended => break,
        }
        model.clamp(draw::all_rows(model).len(), draw::page(model, height));
        height = screen.show(model)?;
    }
    Ok(())
}

/// A thread that gives events; it ends with the process at the latest, in the middle of a read.
fn spawn(
    name: &str,
    events: &SyncSender<Event>,
    work: impl FnOnce(SyncSender<Event>) + Send + 'static,
) -> Result<()> {
    let events = events.clone();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(events))
        .with_context(|| format!("cannot start the thread `{name}`"))?;
    Ok(())
}

/// Asks again and again: by the interval, and at once when statistics are wished for or no longer.
fn read_samples(args: &TopArgs, mut rates: Rates, wishes: &Receiver<bool>, events: &SyncSender<Event>) {
    let mut wants_statistics = args.programs;
    loop {
        match wishes.recv_timeout(args.interval) {
            Ok(is_wanted) => wants_statistics = is_wanted,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let reading = ask(args, wants_statistics)
            .map(|sample| Box::new(rates.next(sample)))
            .map_err(|error| format!("{error:#}"));
        if events.send(Event::Read(reading)).is_err() {
            return;
        }
    }
}

/// Ctrl-C is a key while the terminal is ours; these come from outside.
fn await_signal(events: &SyncSender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let came = runtime.block_on(async {
        let (mut terminate, mut interrupt, mut hangup) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok::<(), std::io::Error>(())
    });
    if came.is_ok() {
        // Nobody waits any more: it is over already.
        let _ = events.send(Event::Ended);
    }
}

/// Asks the agent for one sample. With statistics they stay on until well after the next one is due.
fn ask(args: &TopArgs, wants_statistics: bool) -> Result<Sample> {
    let mut query = Vec::new();
    if wants_statistics {
        let lease = (3 * args.interval).clamp(Duration::from_secs(3), statistics::LONGEST);
        query.push(("statistics", lease.as_secs().to_string()));
    }
    client::get(args.admin, "/top", &query)
}
