//! User → plan: the directory's route, the island it means, the nodes to try.

use super::Context;
use super::failure::Failure;
use super::record::Record;
use crate::names::UserName;
use crate::routing::Plan;

/// Where a login goes.
pub(super) struct Destination {
    pub(super) plan: Plan,
    /// The name to log in with on the node.
    pub(super) login: UserName,
}

/// Asks the directory. There is no default island: a user whose look-up failed is sent nowhere.
pub(super) async fn locate(context: &Context, user: &UserName, record: &mut Record) -> Result<Destination, Failure> {
    let located = context.directory.locate(user).await?;
    record.located(&located);
    let Some(island) = context.islands.find(&located.route.island) else {
        return Err(Failure::UnknownIsland(located.route.island));
    };
    let login = located.route.login.unwrap_or_else(|| user.clone());
    Ok(Destination { plan: Plan::new(island), login })
}
