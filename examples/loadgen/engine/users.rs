//! Who logs in: lines of a file, `name TAB island TAB mail address TAB password`, as `scripts/site/users.sh` writes them.

use std::fs;
use std::path::Path;

/// Somebody with a mailbox. It has no `Debug`, so that no password is printed.
pub(crate) struct User {
    /// The name to log in with.
    pub(crate) name: String,
    /// Where the mailbox is.
    pub(crate) island: String,
    /// In clear text.
    pub(crate) password: String,
}

/// Reads the file; with an island only its users. An error tells the line's number, never its text.
pub(crate) fn read_users(file: &Path, island: Option<&str>) -> Result<Vec<User>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut users = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, home, _, password] = fields[..] else {
            let place = format!("{}:{}", file.display(), number + 1);
            return Err(format!("{place}: not name, island, mail address and password, separated by tabs"));
        };
        users.push(User { name: name.into(), island: home.into(), password: password.into() });
    }
    users.retain(|user| island.is_none_or(|island| user.island == island));
    if users.is_empty() {
        return Err(format!("{}: nobody to log in as", file.display()));
    }
    Ok(users)
}
