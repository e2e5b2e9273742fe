//! The embedded default: which bundles the site shows, and the ledger of what was applied.

use super::{Context, TargetError};
use crate::plan::{Publish, Record};

/// Shows the new list.
///
/// # Errors
/// The store cannot be written to.
pub fn perform(publish: &Publish, context: &Context<'_>) -> Result<(), TargetError> {
    Ok(context.site.publish(&publish.new)?)
}

/// Shows the old list again.
///
/// # Errors
/// The store cannot be written to.
pub fn undo(publish: &Publish, context: &Context<'_>) -> Result<(), TargetError> {
    Ok(context.site.publish(&publish.old)?)
}

/// Writes the new ledger.
///
/// # Errors
/// It cannot be written.
pub fn record(record: &Record, context: &Context<'_>) -> Result<(), TargetError> {
    let new = &record.new;
    Ok(context.site.write_ledger(&new.publisher, &new.product, Some(new))?)
}

/// Writes the old ledger again.
///
/// # Errors
/// It cannot be written.
pub fn unrecord(record: &Record, context: &Context<'_>) -> Result<(), TargetError> {
    let new = &record.new;
    Ok(context.site.write_ledger(&new.publisher, &new.product, record.old.as_ref())?)
}
