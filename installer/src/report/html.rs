//! The report as one page that loads nothing and runs nothing: for the screen, for paper and for a file.
//!
//! Every text is escaped by the template engine. Before that, whatever could turn the direction of writing, or is
//! no character that people see, is written out as an escape, in the page and in the document alike.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use serde_json::Value;

use super::model::Report;

const TEMPLATE: (&str, &str) = ("report.html", include_str!("report.html"));

/// What the page lists of the files of one component; a set may have 100,000. The document has all.
const FILES_MAX: usize = 200;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// A document that is no JSON: a defect of ours.
    #[error("the report cannot be written as JSON")]
    Document(#[from] serde_json::Error),
    /// A template that does not fit the document: a defect of ours.
    #[error("the page of the report cannot be made")]
    Template(#[from] minijinja::Error),
}

/// The report as a document whose texts are all safe to show.
///
/// # Errors
/// A defect of ours.
pub(crate) fn document(report: &Report) -> Result<Value, PageError> {
    Ok(safe(serde_json::to_value(report)?))
}

/// The page.
///
/// # Errors
/// A defect of ours.
pub(crate) fn page(document: &Value) -> Result<String, PageError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("size", |bytes: u64| edge::show::bytes(bytes));
    environment.add_filter("word", |word: String| word.replace('-', " "));
    environment.add_template(TEMPLATE.0, TEMPLATE.1)?;
    let template = environment.get_template(TEMPLATE.0)?;
    let page = template.render(context! { report => Serde(document), files_max => FILES_MAX })?;
    Ok(page)
}

/// Commands have line feeds; nothing else has anything that is not seen.
fn safe(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(edge::show::safe(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(safe).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, item)| (key, safe(item))).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_document_can_turn_the_direction_of_writing() {
        let found = safe(serde_json::json!({"a": ["x\u{202e}y\u{1b}[2J"], "b": "line\nline"}));
        assert_eq!(found, serde_json::json!({"a": ["x\\u{202e}y\\u{1b}[2J"], "b": "line\nline"}));
    }

    #[test]
    fn the_page_has_no_script_and_names_no_other_place() {
        let (_, source) = TEMPLATE;
        for forbidden in ["<script", "http:", "https:", "url(", "@import", "src=", "javascript"] {
            assert!(!source.contains(forbidden), "{forbidden}");
        }
    }
}
