//! What the move of a user needs besides a hold: where the directory says that he is now, and all the names under which
//! he may have sessions. `mailferry move` takes the steps, in the operator's own process, which may run programs.

use super::Desk;
use super::refusal::{Refusal, Unknown};
use super::view;
use crate::directory::{Directory, Found, LookupError, Route};
use crate::names::{UserName, lower_case};
use crate::near::nearest;
use crate::session::holds::Hold;

impl Desk {
    /// The name that is looked up for a name that an operator has typed.
    pub(super) fn looked_up(&self, user: &str) -> Result<UserName, Refusal> {
        let none = || Refusal::usage("a user name has 1 to 255 octets and no line end".to_owned());
        let typed = UserName::new(user.as_bytes()).ok_or_else(none)?;
        let forbidden =
            || Unknown { error: format!("{typed}: the rules of [usernames] allow no such name"), meant: None };
        let names = self.context.site().settings.usernames.apply(&typed, None, None);
        Ok(names.ok_or_else(forbidden)?.looked_up)
    }

    pub(super) async fn route(&self, whom: &view::Whom) -> Result<view::Route, Refusal> {
        if let Some(island) = &whom.island {
            self.island(island)?;
        }
        let user = self.looked_up(&whom.user)?;
        // What the cache has of a user who is held serves nobody, and is forgotten at the end anyway. Of others it may be
        // all there is, should the directory be unavailable.
        if self.context.holds.find(&user).is_some() {
            self.directory().flush(Some(&user)).await;
        }
        let (route, found) = match self.ask(&user).await {
            Ok(located) => located,
            Err(LookupError::NotFound) => return Err(self.no_user(&user).await.into()),
            Err(error) => return Err(Refusal::failed(format!("{user}: {error}"))),
        };
        let table = self.islands().find(&route.island).map(|table| table.island().name.to_string());
        Ok(view::Route {
            user: user.to_string(),
            configured: table.is_some(),
            island: table.unwrap_or_else(|| route.island.to_string()),
            account: route.login.map(|login| login.to_string()),
            answered: match found {
                Found::Asked(source) => Some(source.to_string()),
                Found::Cached { .. } | Found::Stale { .. } => None,
            },
        })
    }

    /// What the directory says now, or has said within the last second to such a question. Never an old route.
    pub(super) async fn ask(&self, user: &UserName) -> Result<(Route, Found), LookupError> {
        let busy = || LookupError::Unavailable("too many such questions at once".into());
        let located = self.directory().locate_afresh(user).await.ok_or_else(busy)??;
        Ok((located.route, located.found))
    }

    /// The directory knows nobody of this name; perhaps there is a session of somebody with a similar one.
    pub(super) async fn no_user(&self, user: &UserName) -> Unknown {
        let known = self.no_session_of(&user.to_string()).await;
        Unknown { error: format!("the directory knows no user {user}"), meant: known.meant }
    }

    /// The user's hold, by one of the names that are known of it.
    pub(super) fn held_by_name(&self, user: &str) -> Result<Hold, Refusal> {
        let name = self.looked_up(user).ok().or_else(|| UserName::new(user.as_bytes()));
        let found = name.and_then(|name| {
            let also = || self.context.holds.all().into_iter().find(|hold| keys(hold).contains(&key(&name)));
            self.context.holds.find(&name).or_else(also)
        });
        found.ok_or_else(|| self.not_held(user, ""))
    }

    /// The user's hold, by whichever name of the mailbox: whose it is, the directory knows.
    pub(super) async fn held(&self, user: &str) -> Result<Hold, Refusal> {
        let (holds, name) = (&self.context.holds, self.looked_up(user).ok());
        if let Some(hold) = name.as_ref().and_then(|name| holds.find(name)) {
            return Ok(hold);
        }
        let Some(name) = name.filter(|_| holds.count().0 > 0) else { return self.held_by_name(user) };
        match self.ask(&name).await {
            Ok((route, _)) => {
                let found = route.login.and_then(|account| holds.find(&account));
                found.ok_or_else(|| self.not_held(user, ""))
            }
            Err(LookupError::NotFound) => Err(self.not_held(user, "")),
            // The cache may know.
            Err(error) => {
                let doubt = format!(", and whether it is a name of somebody who is cannot be said: {error}");
                self.held_by_name(user).map_err(|_| self.not_held(user, &doubt))
            }
        }
    }

    fn not_held(&self, user: &str, doubt: &str) -> Refusal {
        let held: Vec<String> = self.context.holds.all().iter().map(|hold| hold.user.to_string()).collect();
        let meant = nearest(user, held.iter().map(String::as_str)).map(str::to_owned);
        Unknown { error: format!("{} is not held{doubt}", user.escape_debug()), meant }.into()
    }

    /// The hold, with all names under which the user has logged in of late.
    pub(super) async fn with_names(&self, hold: Hold) -> Hold {
        let also = names_of(&self.directory(), &hold).await;
        let add = |hold: &mut Hold| {
            // What the cache has forgotten meanwhile may still have a session.
            let is_new = |name: &UserName| !hold.also.contains(name);
            let new: Vec<UserName> = also.into_iter().filter(is_new).collect();
            hold.also.extend(new);
        };
        self.context.holds.change(hold.id, add).unwrap_or(hold)
    }
}

/// Other names that lead to the user's mailbox, as far as the cache knows.
async fn names_of(directory: &Directory, hold: &Hold) -> Vec<UserName> {
    let Some(account) = &hold.account else { return Vec::new() };
    let mut names = directory.names_of(account).await;
    names.retain(|name| *name != hold.user && name != account);
    names
}

/// The user's names, as they are compared.
pub(super) fn keys(hold: &Hold) -> Vec<Vec<u8>> {
    hold.names().map(key).collect()
}

fn key(name: &UserName) -> Vec<u8> {
    lower_case(name.as_bytes())
}

/// The cache has nothing more of the user: whoever has waited asks the directory.
pub(super) async fn forget(directory: &Directory, hold: &Hold) {
    let names = names_of(directory, hold).await;
    for name in hold.names().chain(&names) {
        directory.flush(Some(name)).await;
    }
}
