//! A receipt as a text that somebody prints, reads, and types again.

use manifests::receipt::pieces::{LINE_CHARACTERS, cut, heading};
use manifests::receipt::{ReceiptDocument, SignedReceipt};

use super::ComposeError;

/// The text. What begins with `#` is for reading, and nobody signs it; the other lines are the receipt.
///
/// # Errors
/// It has more lines than anybody types.
pub fn text(signed: &SignedReceipt, document: &ReceiptDocument) -> Result<String, ComposeError> {
    let pieces = cut(signed, LINE_CHARACTERS)?;
    let mut text = String::from(
        "# What this site holds and runs. Lines with # are for reading; the others are signed.\n#\n",
    );
    for (head, value) in document.lines() {
        text.push_str(&format!("# {head:<10} {value}\n"));
    }
    text.push_str(&format!(
        "#\n# SHA-256 of the receipt: {}\n\n{}\n",
        signed.digest().hex(),
        heading(signed)
    ));
    for piece in &pieces {
        text.push_str(&piece.line());
        text.push('\n');
    }
    Ok(text)
}
