//! The pages of the documentation, their fenced blocks and what stands before these. It judges nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of text.
pub(crate) struct Page {
    /// As `docs/operations.md`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What stands between two fences.
pub(crate) struct Block {
    pub(crate) page: String,
    /// Of the opening fence; the first one is 1.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
    /// What the comment before it says of how it is proved.
    pub(crate) word: Option<String>,
    /// Whether a test writes it.
    pub(crate) is_generated: bool,
}

impl Block {
    /// For what does not prove itself.
    pub(crate) fn demand_word(&self, what: &str) -> Result<(), String> {
        if self.word.is_some() || self.is_generated {
            return Ok(());
        }
        Err(format!(
            "{what}: say `<!-- example: shown by `TEST` -->` or `<!-- example: not run, REASON -->` before the fence"
        ))
    }
}

impl Page {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open, mut word, mut is_generated) = (Vec::new(), None::<Block>, None, false);
        for (number, line) in (1..).zip(self.text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text += line;
                    block.text.push('\n');
                }
                (None, Some(language)) => {
                    let (page, language) = (self.name.clone(), language.to_owned());
                    let word = word.take();
                    open = Some(Block { page, line: number, language, text: String::new(), word, is_generated });
                }
                (None, None) => {
                    let begins = line.starts_with("<!-- begin: ") || line.ends_with(": written by a test -->");
                    is_generated = (is_generated || begins) && !line.starts_with("<!-- end");
                    match example(line) {
                        Some(said) => word = Some(said.to_owned()),
                        None if line.is_empty() => {}
                        None => word = None,
                    }
                }
            }
        }
        assert!(open.is_none(), "{}: the last block has no end", self.name);
        blocks
    }

    /// All that is said of examples, with their lines.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter_map(|(number, line)| Some((number, example(line)?)))
    }

    /// The text without its blocks, for what stands in a line.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_code = false;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            is_code ^= line.starts_with("```");
            !is_code && !line.starts_with("```")
        })
    }
}

fn example(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- example: ")?.strip_suffix(" -->")
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All of them.
pub(crate) fn all() -> Vec<Page> {
    let texts = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
    };
    let mut paths = [texts(""), texts("docs"), texts("packaging"), texts("tests/zoo")].concat();
    paths.sort();
    assert!(paths.len() > 10, "only {paths:?}");
    let page = |path: PathBuf| Page {
        name: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    paths.into_iter().map(page).collect()
}
