//! What the audience sees: plain lines, with colour only on a terminal, and pauses only for people.

use std::env;
use std::io::{self, IsTerminal as _, Stdout, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::interrupt;

/// Time to read a scene.
const SCENE: Duration = Duration::from_millis(2_500);

/// Time to read a line.
const LINE: Duration = Duration::from_millis(350);

/// How something is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Title,
    Allowed,
    Refused,
    Quiet,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Allowed => "32",
            Self::Refused => "31",
            Self::Quiet => "2",
        }
    }
}

/// The terminal, or what stands in for it.
pub(super) struct Screen {
    out: Stdout,
    is_coloured: bool,
    has_pauses: bool,
    begin: Instant,
    scene: u32,
}

impl Screen {
    pub(super) fn new(fast: bool) -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Self {
            out,
            // https://no-color.org
            is_coloured: is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            has_pauses: is_terminal && !fast,
            begin: Instant::now(),
            scene: 0,
        }
    }

    /// What will be seen.
    pub(super) fn opening(&self) {
        self.line(
            "Windrose: a policy enforced in the kernel, on real processes. Each is in a network namespace",
        );
        self.line("and a cgroup of its own; the files are those of policies/demo.");
        self.line("");
        self.line("    outside  ──>  shop/web  ──>  shop/cart  ──>  bank/payments        guest/intruder");
        self.line(&self.toned(
            Tone::Quiet,
            "   203.0.113.10  10.77.0.10     10.77.0.11      10.77.0.12           10.77.0.66",
        ));
        self.line(&self.toned(
            Tone::Quiet,
            "  2001:db8:77::10 fd77::10       fd77::11        fd77::12             fd77::66",
        ));
    }

    /// Begins a scene, once the last one has been read.
    pub(super) fn scene(&mut self, title: &str) -> Result<()> {
        self.pause(SCENE)?;
        self.scene += 1;
        self.line("");
        self.line(&self.toned(Tone::Title, &format!("{}. {title}", self.scene)));
        Ok(())
    }

    /// The end, when every scene showed what it claims.
    pub(super) fn curtain(&self) {
        self.line("");
        let text =
            format!("Every scene showed what it claims, in {:.0} s.", self.begin.elapsed().as_secs_f64());
        self.line(&self.toned(Tone::Title, &text));
    }

    /// A line with its time to be read.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        self.line(text);
        self.pause(LINE)
    }

    /// A line. One that cannot be written is nobody's loss: the story is checked all the same.
    pub(super) fn line(&self, text: &str) {
        let mut out = self.out.lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Text in a tone, where there is colour.
    pub(super) fn toned(&self, tone: Tone, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }

    fn pause(&self, duration: Duration) -> Result<()> {
        if self.has_pauses { interrupt::pause(duration) } else { interrupt::check() }
    }
}
