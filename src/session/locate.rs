//! User → island: the directory's route, and the island that it means.

use std::sync::Arc;

use super::Context;
use super::failure::Failure;
use super::record::Record;
use crate::directory::{Found, Located};
use crate::names::UserName;
use crate::routing::Table;

/// Where a login goes.
pub(super) struct Destination {
    pub(super) table: Arc<Table>,
    /// The name to log in with on the node.
    pub(super) login: UserName,
    /// Whether the route may be out of date: it was not asked for this login.
    pub(super) is_old: bool,
}

/// Asks the directory. There is no default island: a user whose look-up failed is sent nowhere.
pub(super) async fn locate(context: &Context, user: &UserName, record: &mut Record) -> Result<Destination, Failure> {
    let located = context.directory.locate(user).await?;
    destination(context, user, located, record)
}

/// A node of `old` has refused the login: whether the user has been moved, and where to. The directory is asked again,
/// unless that was done just now or too much is asked; if it does not know better, the refusal stands.
pub(super) async fn moved(
    context: &Context,
    user: &UserName,
    old: &Destination,
    record: &mut Record,
) -> Option<Destination> {
    let located = context.directory.locate_afresh(user).await?.ok()?;
    let new = destination(context, user, located, record).ok()?;
    (!Arc::ptr_eq(&new.table, &old.table) || new.login != old.login).then_some(new)
}

fn destination(
    context: &Context,
    user: &UserName,
    located: Located,
    record: &mut Record,
) -> Result<Destination, Failure> {
    record.located(&located);
    let Some(table) = context.islands.find(&located.route.island) else {
        return Err(Failure::UnknownIsland(located.route.island));
    };
    record.bound_for(table.island());
    let is_old = !matches!(located.found, Found::Asked(_));
    Ok(Destination { table: Arc::clone(table), login: located.route.login.unwrap_or_else(|| user.clone()), is_old })
}
