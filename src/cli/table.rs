//! A table in columns as wide as what is in them.

use super::out::flat;

/// Between two columns.
const GAP: &str = "  ";

/// A table of `N` columns. Taken in pieces, it keeps its columns at least as wide as before.
pub(super) struct Table<const N: usize> {
    header: Option<[&'static str; N]>,
    widths: [usize; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table.
    pub(super) fn new(header: [&'static str; N]) -> Self {
        Table { header: Some(header), widths: header.map(width), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        let cells = cells.map(|cell| flat(&cell));
        for (widest, cell) in self.widths.iter_mut().zip(&cells) {
            *widest = (*widest).max(width(cell));
        }
        self.rows.push(cells);
    }

    /// The text of the rows since the last time; the header is in the first piece.
    pub(super) fn take(&mut self) -> String {
        let mut text = String::new();
        if let Some(header) = self.header.take() {
            self.write(&mut text, &header);
        }
        for row in std::mem::take(&mut self.rows) {
            self.write(&mut text, &row);
        }
        text
    }

    fn write<S: AsRef<str>>(&self, text: &mut String, cells: &[S; N]) {
        let mut line = String::new();
        for (cell, widest) in cells.iter().map(AsRef::as_ref).zip(self.widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(widest.saturating_sub(width(cell))));
            line.push_str(GAP);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let mut table = Table::new(["NAME", "N", "WHY"]);
        table.row(["grüße".into(), "1".into(), String::new()]);
        table.row(["b".into(), "100".into(), "two\nlines".into()]);
        assert_eq!(table.take(), "NAME   N    WHY\ngrüße  1\nb      100  two lines\n");
    }

    #[test]
    fn a_later_piece_has_no_header_and_keeps_the_widths() {
        let mut table = Table::new(["A", "B"]);
        table.row(["long".into(), "x".into()]);
        assert_eq!(table.take(), "A     B\nlong  x\n");
        table.row(["s".into(), "y".into()]);
        assert_eq!(table.take(), "s     y\n");
        assert_eq!(table.take(), "");
    }
}
