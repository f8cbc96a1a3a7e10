//! `windrose demo`: a story told with real processes, and a check that every scene shows what it claims.

use anyhow::Result;

mod actor;
mod agent;
mod attempt;
mod interrupt;
mod players;
mod screen;
mod stage;
mod story;

use agent::Agent;
use screen::Screen;
use stage::Stage;

/// `windrose demo`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct DemoArgs {
    /// Do not pause between the scenes (nor does it when the output is not a terminal)
    #[arg(long)]
    fast: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What a process of the demo does that is not the demo itself.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// A server or a client of the demo
    #[command(hide = true)]
    Actor(actor::Args),
}

/// Builds the stage, tells the story and clears the stage, whatever came of the story.
///
/// # Errors
///
/// What the machine lacks; the first scene that did not show what it claims; what could not be cleared away.
pub(crate) fn run(args: DemoArgs) -> Result<()> {
    let DemoArgs { fast, part } = args;
    if let Some(Part::Actor(args)) = part {
        return actor::run(args);
    }
    interrupt::watch()?;
    let mut screen = Screen::new(fast);
    let mut stage = Stage::build()?;
    let told = tell(&stage, &mut screen);
    let struck = stage.strike();
    match (told, struck) {
        (Ok(()), Ok(())) => {
            screen.curtain();
            Ok(())
        }
        (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
        (Err(told), Err(struck)) => {
            Err(told.context(format!("not all is cleared away ({struck:#}), and before that")))
        }
    }
}

fn tell(stage: &Stage, screen: &mut Screen) -> Result<()> {
    screen.opening();
    let agent = Agent::start(stage)?;
    story::tell(stage, agent, screen)
}
