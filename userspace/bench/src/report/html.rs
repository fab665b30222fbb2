//! One page that needs nothing beside it.

use std::fmt::Write as _;

use super::{Conditions, Report, Table, plot};
use crate::{BenchError, figure::Kind};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
table{border-collapse:collapse;margin:1rem 0;font-size:13px}th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #d8dee4}\
th:first-child,td:first-child{text-align:left}.reached{color:#116329}.missed{color:#a40e26}\
.plots{display:flex;flex-wrap:wrap;gap:1rem}svg{border:1px solid #d8dee4;border-radius:6px}";

/// The whole page.
pub fn page(report: &Report) -> Result<String, BenchError> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>beeline bench proxy</title>\
         <style>{STYLE}</style></head><body>\n<h1>beeline bench proxy</h1>\n"
    );
    let Conditions { version, build, kernel, processors, rounds, endpoints, generator } =
        &report.conditions;
    let _ = writeln!(
        page,
        "<p>beeline {}, {} build, Linux {}, {processors} processors, medians of {rounds} interleaved rounds with the \
         least and the greatest, {endpoints} endpoints for each Service, packets made by {}.</p>",
        escape(version),
        escape(build),
        escape(kernel),
        escape(generator)
    );
    page.push_str("<div class=\"plots\">\n");
    for kind in Kind::ALL {
        if let Some(svg) = plot::of(report, kind)? {
            let _ = writeln!(page, "{svg}");
        }
    }
    page.push_str("</div>\n");
    for table in report.tables() {
        write_table(&mut page, &table);
    }
    write_list(&mut page, report);
    page.push_str("</body></html>\n");
    Ok(page)
}

fn write_table(page: &mut String, table: &Table) {
    let _ = writeln!(page, "<h2>{}</h2>\n<table><tr>", escape(&table.title));
    for heading in &table.headings {
        let _ = write!(page, "<th>{}</th>", escape(heading));
    }
    page.push_str("</tr>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for cell in row {
            let class = match cell.as_str() {
                "reached" => " class=\"reached\"",
                "missed" => " class=\"missed\"",
                _ => "",
            };
            let _ = write!(page, "<td{class}>{}</td>", escape(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn write_list(page: &mut String, report: &Report) {
    page.push_str("<h2>How it was measured</h2>\n<ul>\n");
    for skipped in &report.skipped {
        let _ = writeln!(
            page,
            "<li>{} was skipped: {}</li>",
            skipped.mode.name(),
            escape(&skipped.why)
        );
    }
    for note in &report.notes {
        let _ = writeln!(page, "<li>{}</li>", escape(note));
    }
    page.push_str("</ul>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
