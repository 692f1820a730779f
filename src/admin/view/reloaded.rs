//! The words of what came of a reload. A problem names a place in the file and a remedy, and never a secret.

use serde::{Deserialize, Serialize};

/// `POST /v1/reload`: what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the file is taken up; else nothing has changed, and `problems` says why.
    pub done: bool,
    /// The configuration's file.
    pub file: String,
    /// What holds from now on.
    pub changes: Vec<Changed>,
    /// What differs in the file and stays as it was until a restart.
    pub restart: Vec<NeedsRestart>,
    /// What is wrong with the file, in its order.
    pub problems: Vec<FileProblem>,
}

/// A part of the configuration that is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The section, as `island.nodes`.
    pub section: String,
    /// Which one of several; empty where there is only one.
    pub name: String,
    /// `added`, `removed` or `changed`, with the keys where they are known: `changed: hostname`.
    pub what: String,
}

/// A key that a running mailferry cannot take up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsRestart {
    /// With its section, as `log.format`.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// Something wrong with the configuration's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProblem {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}
