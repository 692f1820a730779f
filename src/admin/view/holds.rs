//! The words of questions and answers about users who are held or moved.

use serde::{Deserialize, Serialize};

use super::Unreached;

/// What `GET /v1/holds` may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldFilter {
    /// Of this user only; without one, all.
    pub user: Option<String>,
}

/// `GET /v1/holds`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// The oldest first.
    pub holds: Vec<Hold>,
}

/// A user whose new logins wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its number, which no other hold has.
    pub id: u64,
    /// The name that is looked up.
    pub user: String,
    /// The name on the nodes, where the directory says one: who comes in under another name is held by it.
    pub account: Option<String>,
    /// Its beginning, as RFC 3339 has it.
    pub since: String,
    /// Seconds since then.
    pub held_s: u64,
    /// Seconds until it ends by itself.
    pub ends_in_s: u64,
    /// Logins that wait.
    pub waiting: usize,
    /// Logins that came before the hold and are not in the relay yet.
    pub under_way: usize,
    /// The user's sessions in the relay.
    pub sessions: u64,
    /// The island to which the user is being moved.
    pub move_to: Option<String>,
    /// The operator's word that the move may go on.
    pub go_on: bool,
    /// Processes that were taken over, and whose logins and sessions are not counted here.
    #[serde(default)]
    pub unreached: Vec<Unreached>,
}

/// `POST /v1/hold`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldOrder {
    /// Whom.
    pub user: String,
    /// Seconds until it ends by itself; ten minutes without it, and a day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// For a move to this island: refused where the user is held already, and a release without number and ticket is
    /// the word that the move may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_to: Option<String>,
    /// How whoever orders it calls the order, in 1 to 64 letters, digits and hyphens. The same order once more holds
    /// nobody else, and is answered with its hold, so that one whose answer was lost can be given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The hold.
    pub hold: Hold,
    /// The user was held before, and the hold ends when this order says.
    pub was_held: bool,
    /// Why the directory could not say who the user is: only the name itself is held then.
    pub doubt: Option<String>,
    /// Why it will be forgotten at a restart.
    pub not_kept: Option<String>,
}

/// `POST /v1/release`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseOrder {
    /// Whom.
    pub user: String,
    /// Only this hold, whatever the user is called now, and not one that somebody else has begun since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Only the hold that was ordered by this ticket; an order of it that is still on its way holds nobody any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Who.
    pub user: String,
    /// Logins that waited, and go on.
    pub waited: usize,
    /// Seconds that the user was held.
    pub held_s: u64,
    /// The user is being moved: the move has the word to go on, and ends the hold itself. Said again, it is ended here.
    pub goes_on: bool,
    /// Why a restart would bring the hold back.
    pub not_kept: Option<String>,
    /// Processes that were taken over, where logins wait on until the hold ends by itself.
    #[serde(default)]
    pub unreached: Vec<Unreached>,
}

/// `POST /v1/route`: an order, since the directory is asked and the cache takes up the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    /// Who.
    pub user: String,
    /// An island that there must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub island: Option<String>,
}

/// What the directory says now, whatever the cache had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The name that is looked up.
    pub user: String,
    /// The user's island, as the configuration writes it.
    pub island: String,
    /// Whether the configuration has such an island; else logins fail.
    pub configured: bool,
    /// The name on the nodes, where the directory says one.
    pub account: Option<String>,
    /// Which server or file has answered.
    pub answered: Option<String>,
}
