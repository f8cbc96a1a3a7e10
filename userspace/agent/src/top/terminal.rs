//! The terminal: taken over, and given back whatever happens.

use std::io::{self, IsTerminal as _, Stdout};
use std::panic;
use std::sync::mpsc::SyncSender;

use anyhow::{Context as _, Result, ensure};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::Event;
use super::draw::draw;
use super::model::{Key, Model};

/// The screen while it is ours.
#[derive(Debug)]
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal over. It is given back on drop, and before a panic is told.
    pub(super) fn enter() -> Result<Self> {
        ensure!(
            io::stdout().is_terminal(),
            "standard output is no terminal: use --output json for one reading without one"
        );
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            told(panic);
        }));
        enable_raw_mode().context("cannot read single keys from this terminal")?;
        // From here on there is something to give back.
        let screen = Terminal::new(CrosstermBackend::new(io::stdout())).map(Self);
        let screen = screen.inspect_err(|_| restore()).context("cannot draw on this terminal")?;
        execute!(io::stdout(), EnterAlternateScreen).context("cannot draw on this terminal")?;
        Ok(screen)
    }

    /// Draws the model, at the size that the terminal has now. Says how high that is.
    pub(super) fn show(&mut self, model: &Model) -> Result<u16> {
        let drawn = self.0.draw(|frame| draw(model, frame.area(), frame.buffer_mut()));
        Ok(drawn.context("cannot draw on this terminal")?.area.height)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// As it was before. Nothing is left to be done where this fails.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Reads keys until nobody wants them or the terminal is gone.
pub(super) fn read_keys(events: &SyncSender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) => key_of(key).map(Event::Key),
            Ok(event::Event::Resize(..)) => Some(Event::Resized),
            Ok(_) => None,
            Err(_) => Some(Event::Ended),
        };
        let is_end = matches!(event, Some(Event::Ended));
        if event.is_some_and(|event| events.send(event).is_err()) || is_end {
            return;
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char(character) if !is_control => Key::Char(character),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}
