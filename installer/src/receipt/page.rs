//! A receipt as a page to print: QR codes, and the same as lines to type if a code cannot be read.
//!
//! The codes have error correction Q: a quarter of each may be dirty, folded or badly printed. Printed as the page
//! says, a module of the largest is 0.76 mm wide, which a scanner of 100 dots per inch can read. The page loads nothing and
//! runs nothing; everything on it is escaped by the template engine.

use fast_qr::{ECL, QRBuilder};
use manifests::receipt::pieces::{CODE_CHARACTERS, LINE_CHARACTERS, cut, heading};
use manifests::receipt::{ReceiptDocument, SignedReceipt};
use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::ComposeError;

const TEMPLATE: (&str, &str) = ("receipt.html", include_str!("page.html"));

/// The light border that a code needs, in modules.
const BORDER: usize = 4;

/// A code as the template draws it.
#[derive(Serialize)]
struct Code {
    number: u32,
    /// Modules on each side, with the border.
    side: usize,
    /// The dark modules, as the path of an SVG.
    path: String,
}

/// The page, and how many codes it has.
///
/// # Errors
/// There would be too many codes.
pub fn page(signed: &SignedReceipt, document: &ReceiptDocument) -> Result<(String, usize), ComposeError> {
    let failed = |error: minijinja::Error| ComposeError::Page(error.to_string());
    let pieces = cut(signed, CODE_CHARACTERS)?;
    let codes: Vec<Code> =
        pieces.iter().map(|piece| code(piece.number(), &piece.code())).collect::<Result<_, _>>()?;
    let lines: Vec<String> = cut(signed, LINE_CHARACTERS)?.iter().map(|piece| piece.line()).collect();
    let mut templates = minijinja::Environment::new();
    templates.add_template(TEMPLATE.0, TEMPLATE.1).map_err(failed)?;
    let page = templates.get_template(TEMPLATE.0).and_then(|template| {
        template.render(context! {
            facts => Serde(document.lines()),
            site => document.site.as_ref().map(ToString::to_string),
            time => document.time.to_string(),
            digest => signed.digest().hex(),
            heading => heading(signed),
            lines => lines,
            of => codes.len(),
            codes => Serde(&codes),
        })
    });
    Ok((page.map_err(failed)?, codes.len()))
}

fn code(number: u32, content: &str) -> Result<Code, ComposeError> {
    let drawn = QRBuilder::new(content).ecl(ECL::Q).build();
    let drawn = drawn.map_err(|error| ComposeError::Page(error.to_string()))?;
    let mut path = String::new();
    for (row, modules) in drawn.data.chunks(drawn.size).take(drawn.size).enumerate() {
        let mut column = 0;
        for run in modules.chunk_by(|left, right| left.value() == right.value()) {
            if run.first().is_some_and(|module| module.value()) {
                let (x, y, width) = (column + BORDER, row + BORDER, run.len());
                path.push_str(&format!("M{x} {y}h{width}v1h-{width}z"));
            }
            column += run.len();
        }
    }
    Ok(Code { number, side: drawn.size + 2 * BORDER, path })
}
