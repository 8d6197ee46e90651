//! Where ratatui draws: escape sequences (ECMA-48) to a terminal that xterm's users would know. Only what has changed is
//! written, all of a picture in one write.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

use crate::sys::term;

/// The alternate screen without a cursor, cleared (xterm's control sequences, DECSET 1049 and 25).
pub(super) const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
/// Back to what was there before, with the cursor.
pub(super) const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// A terminal behind a writer. Its size is that of standard output.
pub(super) struct Terminal<W: Write> {
    out: W,
    /// What is to be written.
    text: String,
    /// [`ENTER`] hides the cursor.
    hidden: bool,
}

/// Of a terminal that does not know its size: rows and columns.
const SIZE: (u16, u16) = (24, 80);

impl<W: Write> Terminal<W> {
    /// Nothing is written yet.
    pub(super) fn new(out: W) -> Terminal<W> {
        Terminal { out, text: String::new(), hidden: true }
    }

    /// The last style was another one.
    fn style(&mut self, cell: &Cell) {
        self.text.push_str("\x1b[0");
        for (modifier, code) in [
            (Modifier::BOLD, ";1"),
            (Modifier::DIM, ";2"),
            (Modifier::UNDERLINED, ";4"),
            (Modifier::REVERSED, ";7"),
        ] {
            if cell.modifier.contains(modifier) {
                self.text.push_str(code);
            }
        }
        // The eight colours that every terminal has; the screen uses no others.
        let code = match cell.fg {
            Color::Red => ";31",
            Color::Green => ";32",
            Color::Yellow => ";33",
            Color::Blue => ";34",
            Color::Magenta => ";35",
            Color::Cyan => ";36",
            _ => "",
        };
        self.text.push_str(code);
        self.text.push('m');
    }
}

impl<W: Write> Backend for Terminal<W> {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        let mut next = None;
        let mut styled: Option<(Color, Modifier)> = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                self.text.push_str(&format!("\x1b[{};{}H", y + 1, x + 1));
            }
            if styled != Some((cell.fg, cell.modifier)) {
                self.style(cell);
                styled = Some((cell.fg, cell.modifier));
            }
            self.text.push_str(cell.symbol());
            // Behind a wide character the cursor is where nobody counts on it.
            next = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        if styled.is_some() {
            self.text.push_str("\x1b[0m");
        }
        Ok(())
    }

    /// Asked for with each picture.
    fn hide_cursor(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.hidden, true) {
            self.text.push_str("\x1b[?25l");
        }
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.hidden, false) {
            self.text.push_str("\x1b[?25h");
        }
        Ok(())
    }

    /// The screen never asks: the terminal would answer among the keys.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.text.push_str(&format!("\x1b[{};{}H", y + 1, x + 1));
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.text.push_str(match clear_type {
            ClearType::All => "\x1b[2J",
            ClearType::AfterCursor => "\x1b[J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[K",
        });
        Ok(())
    }

    fn size(&self) -> io::Result<Size> {
        let (rows, columns) = term::size(io::stdout()).unwrap_or(SIZE);
        Ok(Size { width: columns, height: if rows == 0 { SIZE.0 } else { rows } })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        self.out.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(symbol: &str, fg: Color, modifier: Modifier) -> Cell {
        let mut cell = Cell::default();
        cell.set_symbol(symbol).set_fg(fg);
        cell.modifier = modifier;
        cell
    }

    #[test]
    fn only_what_is_needed_is_written() {
        let mut terminal = Terminal::new(Vec::new());
        let (a, b) = (cell("a", Color::Reset, Modifier::empty()), cell("b", Color::Red, Modifier::BOLD));
        let wide = cell("é", Color::Red, Modifier::BOLD);
        let cells = [(0, 0, &a), (1, 0, &a), (2, 0, &b), (5, 2, &wide), (6, 2, &b)];
        terminal.draw(cells.into_iter()).unwrap();
        assert!(terminal.out.is_empty(), "all in one write");
        terminal.flush().unwrap();
        let text = String::from_utf8(terminal.out).unwrap();
        assert_eq!(text, "\x1b[1;1H\x1b[0maa\x1b[0;1;31mb\x1b[3;6Hé\x1b[3;7Hb\x1b[0m");
    }

    #[test]
    fn nothing_new_is_nothing_written() {
        let mut terminal = Terminal::new(Vec::new());
        terminal.draw(std::iter::empty()).unwrap();
        terminal.flush().unwrap();
        assert!(terminal.out.is_empty());
    }
}
