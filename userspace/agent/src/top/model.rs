//! What the view shows and how keys change it; knows no terminal.

use super::View;
use super::rates::Reading;
use super::table::{Sort, columns, first_sort};

/// The views in the order of their keys.
pub(super) const VIEWS: [View; 5] =
    [View::Pairs, View::Connections, View::Drops, View::Programs, View::Services];

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    Left,
    Right,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C.
    Interrupt,
}

/// What follows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

/// Everything that is drawn.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that are independent of each other")]
pub(super) struct Model {
    /// Where the agent answers.
    pub(super) admin: String,
    /// The last reading that is shown; `None` before the first.
    pub(super) reading: Option<Reading>,
    pub(super) view: View,
    sorts: [Sort; VIEWS.len()],
    /// The first row that is shown; past the end it means the last page.
    pub(super) first: usize,
    /// Only rows that contain it are shown.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    /// Readings that come are not shown.
    pub(super) is_paused: bool,
    /// The keys are shown instead of rows.
    pub(super) is_helping: bool,
    /// The agent is to have the kernel's statistics on.
    pub(super) wants_statistics: bool,
    /// Why there is no new reading.
    pub(super) trouble: Option<String>,
    /// Whether there are colours.
    pub(super) is_coloured: bool,
}

impl Model {
    pub(super) fn new(admin: String, view: View) -> Self {
        Self {
            admin,
            reading: None,
            view,
            sorts: VIEWS.map(|view| Sort { column: first_sort(view), is_descending: true }),
            first: 0,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            is_helping: false,
            wants_statistics: false,
            trouble: None,
            is_coloured: false,
        }
    }

    /// How the view is sorted.
    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.number()]
    }

    /// A new reading, or why there is none.
    pub(super) fn take(&mut self, reading: Result<Reading, String>) {
        match reading {
            Ok(reading) => {
                self.trouble = None;
                if !self.is_paused {
                    self.reading = Some(reading);
                }
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// A key was pressed, while so many rows are shown at a time.
    pub(super) fn press(&mut self, key: Key, page: usize) -> Next {
        if key == Key::Interrupt {
            return Next::Quit;
        }
        if self.is_typing {
            self.type_filter(key);
            return Next::Stay;
        }
        if self.is_helping {
            self.is_helping = false;
            return if key == Key::Char('q') { Next::Quit } else { Next::Stay };
        }
        match key {
            Key::Char('q') => return Next::Quit,
            Key::Char('?' | 'h') => self.is_helping = true,
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Char('t') => self.wants_statistics = !self.wants_statistics,
            Key::Char('r') => self.sort_mut().is_descending ^= true,
            Key::Char('s') | Key::Right => self.sort_by_next(1),
            Key::Char('S') | Key::Left => self.sort_by_next(-1),
            Key::Char('/') => self.is_typing = true,
            Key::Char(digit @ '1'..='5') => {
                let view = digit.to_digit(10).and_then(|digit| VIEWS.get(digit as usize - 1));
                self.show(view.copied().unwrap_or(self.view));
            }
            Key::Tab => self.show(VIEWS[(self.number() + 1) % VIEWS.len()]),
            Key::BackTab => self.show(VIEWS[(self.number() + VIEWS.len() - 1) % VIEWS.len()]),
            Key::Escape => {
                self.filter.clear();
                self.first = 0;
            }
            Key::Up | Key::Char('k') => self.first = self.first.saturating_sub(1),
            Key::Down | Key::Char('j') => self.first = self.first.saturating_add(1),
            Key::PageUp => self.first = self.first.saturating_sub(page.max(1)),
            Key::PageDown => self.first = self.first.saturating_add(page.max(1)),
            Key::Home => self.first = 0,
            Key::End => self.first = usize::MAX,
            Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt => {}
        }
        Next::Stay
    }

    /// Keeps the first row where there are rows: so many, of which so many are shown at a time.
    pub(super) fn clamp(&mut self, rows: usize, page: usize) {
        self.first = self.first.min(rows.saturating_sub(page));
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(character) => self.filter.push(character),
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => return,
        }
        self.first = 0;
    }

    fn show(&mut self, view: View) {
        if self.view != view {
            self.view = view;
            self.first = 0;
        }
    }

    fn number(&self) -> usize {
        VIEWS.iter().position(|view| *view == self.view).unwrap_or(0)
    }

    fn sort_mut(&mut self) -> &mut Sort {
        let number = self.number();
        &mut self.sorts[number]
    }

    fn sort_by_next(&mut self, step: isize) {
        let columns = columns(self.view);
        let sort = self.sort_mut();
        sort.column =
            sort.column.wrapping_add_signed(step.rem_euclid(columns.len().cast_signed())) % columns.len();
        sort.is_descending = columns[sort.column].is_number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::new("127.0.0.1:9901".to_owned(), View::Pairs)
    }

    fn press(model: &mut Model, keys: &str) -> Next {
        keys.chars().map(|key| model.press(Key::Char(key), 10)).last().unwrap()
    }

    #[test]
    fn q_and_ctrl_c_quit_and_nothing_else_does() {
        for key in ('a'..='z').chain(['1', '/', '?', ' ']) {
            let next = press(&mut model(), &key.to_string());
            assert_eq!(next == Next::Quit, key == 'q', "{key}");
        }
        let mut typing = model();
        press(&mut typing, "/");
        assert_eq!(typing.press(Key::Interrupt, 10), Next::Quit);
    }

    #[test]
    fn what_is_typed_into_the_filter_is_no_key() {
        let mut model = model();
        assert_eq!(press(&mut model, "/q1p"), Next::Stay);
        assert_eq!((model.filter.as_str(), model.view, model.is_paused), ("q1p", View::Pairs, false));
        model.press(Key::Backspace, 10);
        model.press(Key::Enter, 10);
        assert_eq!((model.filter.as_str(), model.is_typing), ("q1", false));
        model.press(Key::Escape, 10);
        assert_eq!(model.filter, "");
    }

    #[test]
    fn each_view_keeps_its_own_sort() {
        let mut model = model();
        press(&mut model, "sr");
        let sort = model.sort();
        assert_eq!((sort.column, sort.is_descending), (7, false));
        press(&mut model, "2");
        assert_eq!(model.sort(), Sort { column: 6, is_descending: true });
        press(&mut model, "1");
        assert_eq!(model.sort(), sort);
    }

    #[test]
    fn sorting_goes_round_in_both_ways() {
        let mut model = model();
        let first = model.sort().column;
        for key in ["s", "S"] {
            for _ in 0..columns(View::Pairs).len() {
                press(&mut model, key);
            }
            assert_eq!(model.sort().column, first, "{key}");
        }
        model.press(Key::Left, 10);
        assert_eq!(model.sort().column, first - 1);
    }

    #[test]
    fn a_pause_keeps_what_is_shown_and_not_the_trouble() {
        let mut model = model();
        model.take(Ok(Reading { generation: 1, ..Reading::default() }));
        press(&mut model, "p");
        model.take(Err("gone".to_owned()));
        assert_eq!(model.trouble.as_deref(), Some("gone"));
        model.take(Ok(Reading { generation: 2, ..Reading::default() }));
        assert_eq!((model.reading.as_ref().unwrap().generation, &model.trouble), (1, &None));
        press(&mut model, "p");
        model.take(Ok(Reading { generation: 3, ..Reading::default() }));
        assert_eq!(model.reading.unwrap().generation, 3);
    }

    #[test]
    fn rows_are_never_scrolled_out_of_sight() {
        let mut model = model();
        model.press(Key::End, 10);
        model.clamp(25, 10);
        assert_eq!(model.first, 15);
        model.press(Key::PageUp, 10);
        assert_eq!(model.first, 5);
        model.clamp(3, 10);
        assert_eq!(model.first, 0);
        model.press(Key::PageDown, 0);
        model.clamp(0, 0);
        assert_eq!(model.first, 0);
    }

    #[test]
    fn the_views_go_round() {
        let mut model = model();
        model.press(Key::BackTab, 10);
        assert_eq!(model.view, View::Services);
        model.press(Key::Tab, 10);
        assert_eq!(model.view, View::Pairs);
    }
}
