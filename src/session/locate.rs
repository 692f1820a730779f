//! User → island: the directory's route, and the island that it means.

use std::sync::Arc;

use super::Context;
use super::failure::Failure;
use super::record::Record;
use crate::names::UserName;
use crate::routing::Table;

/// Where a login goes.
pub(super) struct Destination {
    pub(super) table: Arc<Table>,
    /// The name to log in with on the node.
    pub(super) login: UserName,
}

/// Asks the directory. There is no default island: a user whose look-up failed is sent nowhere.
pub(super) async fn locate(context: &Context, user: &UserName, record: &mut Record) -> Result<Destination, Failure> {
    let located = context.directory.locate(user).await?;
    record.located(&located);
    let Some(table) = context.islands.find(&located.route.island) else {
        return Err(Failure::UnknownIsland(located.route.island));
    };
    let login = located.route.login.unwrap_or_else(|| user.clone());
    Ok(Destination { table: Arc::clone(table), login })
}
