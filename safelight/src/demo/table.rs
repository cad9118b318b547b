//! The demo's result as a table.

use super::Record;
use super::photographs::Photograph;

const HEAD: [&str; 5] = ["picture", "person", "distance", "status", "ms"];

/// Columns as wide as their widest cell; numbers to the right.
pub(crate) fn render(rows: &[(&Photograph, Record)]) -> String {
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|(photograph, record)| row(photograph.file, record))
        .collect();
    let width = |column: usize| {
        let widest = cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0);
        widest.max(HEAD[column].len())
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: [&str; 5]| {
        let [picture, person, distance, status, ms] = row;
        let [w0, w1, w2, w3, w4] = widths;
        let line = format!("{picture:w0$}  {person:w1$}  {distance:>w2$}  {status:w3$}  {ms:>w4$}");
        format!("{}\n", line.trim_end())
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let rule: [&str; 5] = std::array::from_fn(|column| rule[column].as_str());
    let body: String = cells
        .iter()
        .map(|row| line(std::array::from_fn(|column| row[column].as_str())))
        .collect();
    format!("{}{}{body}", line(HEAD), line(rule))
}

fn row(file: &str, record: &Record) -> [String; 5] {
    let person = if record.people.is_empty() {
        "nobody known".to_owned()
    } else {
        record.people.join(", ")
    };
    let status = match &record.reason {
        Some(reason) => format!("{}: {reason}", record.status),
        None => record.status.clone(),
    };
    [
        file.to_owned(),
        person,
        record
            .distance
            .map(|distance| format!("{distance:.2}"))
            .unwrap_or_default(),
        status,
        record
            .duration_ms
            .map(|duration| duration.to_string())
            .unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let photograph = Photograph {
            file: "a.jpg",
            people: &[],
        };
        let record = Record {
            id: 1,
            status: "processed".to_owned(),
            reason: None,
            people: vec!["obama".to_owned()],
            distance: Some(0.377),
            duration_ms: Some(41),
        };
        let shown = render(&[(&photograph, record)]);
        assert_eq!(
            shown,
            "picture  person  distance  status     ms\n\
             -------  ------  --------  ---------  --\n\
             a.jpg    obama       0.38  processed  41\n"
        );
    }
}
