//! Tables: aligned for a person, a JSON list for a program.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use serde_json::Value;

/// A column's heading and where its cells stand.
#[derive(Clone, Copy)]
pub enum Column {
    /// Text, to the left.
    Text(&'static str),
    /// A number, to the right.
    Number(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Column::Text(heading) | Column::Number(heading) => heading,
        }
    }
}

/// Rows under headings.
pub struct Table {
    columns: &'static [Column],
    /// Said in place of an empty table.
    nothing: &'static str,
    rows: Vec<(Vec<String>, Value)>,
}

impl Table {
    /// No rows yet; `nothing` is what a person reads if it stays so.
    pub fn new(columns: &'static [Column], nothing: &'static str) -> Self {
        Table { columns, nothing, rows: Vec::new() }
    }

    /// Adds a row: a cell for each column, and an object that says the same, and maybe more.
    pub fn add<const CELLS: usize>(&mut self, cells: [&dyn fmt::Display; CELLS], object: Value) {
        self.rows.push((cells.iter().map(|cell| cell.to_string()).collect(), object));
    }

    /// The rows as a JSON list of objects, one a line.
    pub fn json(&self) -> String {
        let mut text = String::from("[");
        for (n, (_, object)) in self.rows.iter().enumerate() {
            text += if n == 0 { "" } else { ",\n" };
            text += &object.to_string();
        }
        text + "]\n"
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(self.columns[column].heading().chars().count())
    }

    fn line<'a>(&self, widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
        let mut line = String::new();
        for ((cell, column), width) in cells.zip(self.columns).zip(widths) {
            let space = " ".repeat(width - cell.chars().count());
            match column {
                Column::Text(_) => line.extend([cell, &space, "  "]),
                Column::Number(_) => line.extend([&space, cell, "  "]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "{}", self.nothing);
        }
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        writeln!(f, "{}", self.line(&widths, self.columns.iter().map(|column| column.heading())))?;
        for (cells, _) in &self.rows {
            writeln!(f, "{}", self.line(&widths, cells.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        Table::new(&[Column::Text("device"), Column::Number("count"), Column::Text("state")], "no devices")
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let mut table = table();
        table.add([&"edu#0", &7, &"started"], json!({"device": "edu#0"}));
        table.add([&"a longer name", &12345, &""], json!({"device": "a longer name"}));
        let expected = "device         count  state\n\
                        edu#0              7  started\n\
                        a longer name  12345\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn json_has_one_object_a_line_and_escapes_what_must_be() {
        let mut table = table();
        assert_eq!(table.json(), "[]\n");
        table.add([&"a", &1, &""], json!({"device": "quote \" and \n line"}));
        table.add([&"b", &2, &""], json!({"counts": [1, 2]}));
        assert_eq!(table.json(), "[{\"device\":\"quote \\\" and \\n line\"},\n{\"counts\":[1,2]}]\n");
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(table().to_string(), "no devices\n");
    }
}
