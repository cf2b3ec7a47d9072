//! The answer to a text query.

use std::collections::BTreeMap;

use mysql_common::io::ParseBuf;

/// The answer to a query, bounded: at most [`super::MAX_PACKET`] bytes, [`Rows::MAX_COLUMNS`] columns and
/// [`Rows::MAX_CELLS`] cells. Text is lossy UTF-8; NULL is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// The columns' names; empty for a statement without a result set.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// The most columns of an answer.
    pub const MAX_COLUMNS: usize = 256;
    /// The most cells of an answer: bounds the memory that many short values cost.
    pub const MAX_CELLS: usize = 65_536;

    /// The rows of a two-column answer as name and value (`SHOW STATUS`, `SHOW VARIABLES`); rows with NULL in the
    /// first place or without a second are left out, NULL as the value is empty.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().filter_map(|row| match row.as_slice() {
            [Some(name), value, ..] => Some((name.as_str(), value.as_deref().unwrap_or_default())),
            _ => None,
        })
    }

    /// Each row by its columns' names in lower case; NULL is left out.
    pub fn named(&self) -> impl Iterator<Item = BTreeMap<String, String>> {
        self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row);
            cells.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.clone()?))).collect()
        })
    }

    /// The first value of the first row.
    pub fn value(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// The value of the named column (names as the server spells them, case ignored) in row `row`.
    pub fn get(&self, row: usize, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|c| c.eq_ignore_ascii_case(column))?;
        self.rows.get(row)?.get(at)?.as_deref()
    }
}

/// The name in a column definition: after catalog, schema, table and original table.
///
/// Layout: MySQL "Protocol::ColumnDefinition41". Read here rather than by mysql_common, which refuses column types
/// and flags it does not know, and nothing of them is of use to us.
pub(super) fn column_name(payload: &[u8]) -> Option<String> {
    let mut rest = ParseBuf(payload);
    for _ in 0..4 {
        rest.checked_eat_lenenc_str()?;
    }
    Some(text(rest.checked_eat_lenenc_str()?))
}

/// One row of exactly `columns` values.
///
/// Layout: MySQL "Text Resultset Row": length-encoded strings, 0xFB for NULL.
pub(super) fn text_row(payload: &[u8], columns: usize) -> Option<Vec<Option<String>>> {
    let mut rest = ParseBuf(payload);
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        row.push(match rest.0.split_first()? {
            (0xFB, behind) => {
                rest = ParseBuf(behind);
                None
            }
            (0xFF, _) => return None,
            _ => Some(text(rest.checked_eat_lenenc_str()?)),
        });
    }
    rest.is_empty().then_some(row)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(values: &[Option<&str>]) -> Vec<Option<String>> {
        values.iter().map(|v| v.map(str::to_owned)).collect()
    }

    #[test]
    fn a_row_has_exactly_as_many_values_as_columns() {
        assert_eq!(text_row(b"\x01a\xfb\0", 3), Some(row(&[Some("a"), None, Some("")])));
        assert_eq!(text_row(b"\x01a", 2), None);
        assert_eq!(text_row(b"\x01a\x01b", 1), None);
        assert_eq!(text_row(b"\x05a", 1), None, "cut");
        assert_eq!(text_row(b"\xff", 1), None);
        assert_eq!(text_row(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xffa", 1), None, "an impossible length");
    }

    #[test]
    fn a_column_definition_gives_its_name() {
        assert_eq!(column_name(b"\x03def\0\x01t\x01t\x01a\x01b\x0c").as_deref(), Some("a"));
        assert_eq!(column_name(b"\x03def\0\x01t"), None);
    }

    #[test]
    fn values_are_found_by_row_and_column() {
        let rows = Rows {
            columns: vec!["Variable_name".into(), "Value".into()],
            rows: vec![row(&[Some("wsrep_ready"), Some("ON")]), row(&[Some("x"), None]), row(&[None, Some("y")])],
        };
        assert_eq!(rows.pairs().collect::<Vec<_>>(), [("wsrep_ready", "ON"), ("x", "")]);
        assert_eq!(rows.value(), Some("wsrep_ready"));
        assert_eq!(rows.get(0, "value"), Some("ON"));
        assert_eq!(rows.named().map(|row| row.len()).collect::<Vec<_>>(), [2, 1, 1], "NULL is left out");
        assert_eq!(rows.named().next().and_then(|row| row.get("value").cloned()).as_deref(), Some("ON"));
        assert_eq!((rows.get(1, "Value"), rows.get(7, "Value"), rows.get(0, "nope")), (None, None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), columns in 0usize..6) {
            let _ = text_row(&bytes, columns);
            let _ = column_name(&bytes);
        }
    }
}
