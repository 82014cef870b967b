//! Rows for spreadsheets, as comma-separated values.

use super::output::clean;

/// Rows for a spreadsheet.
#[derive(Debug)]
pub(crate) struct Sheet {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    /// Rows as wide as their header.
    pub(crate) fn new<const N: usize>(
        header: [&'static str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        Self { header: header.into(), rows: rows.into_iter().map(Vec::from).collect() }
    }

    /// As CSV, with its header.
    pub(crate) fn csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.header)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|cell| harmless(cell)))?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }
}

/// A cell that no spreadsheet takes for a formula: what machines say is in some.
fn harmless(cell: &str) -> String {
    let clean = clean(cell);
    let is_formula = clean.starts_with(['=', '+', '-', '@']) && clean.parse::<f64>().is_err();
    if is_formula { format!("'{clean}") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_gets_what_machines_say_as_text() {
        let row = |cell: &str| ["a,b".to_owned(), cell.to_owned()];
        let sheet = Sheet::new(["name", "message"], [row("=1+1"), row("-5"), row("-cmd|'x'!A")]);
        let text = sheet.csv().expect("CSV");
        assert_eq!(text, "name,message\n\"a,b\",'=1+1\n\"a,b\",-5\n\"a,b\",'-cmd|'x'!A\n");
    }
}
