//! Commands in the documentation: mailferry's own are read by its own command line, scripts must exist, units too. The
//! words of a shell are taken apart as far as the examples need it; the shell itself looks at the syntax.

use std::process::Command;

use clap::error::ErrorKind;

use crate::pages::{Block, all, root};

/// Programs of the system, which are not ours to prove.
const OF_THE_SYSTEM: &str = "awk cargo cat chgrp chmod chown cp curl docker dpkg echo export grep install journalctl kill \
                             mysql openssl socat sysctl tr umask";

/// Lines of a shell.
pub(crate) fn script(block: &Block) -> Result<(), String> {
    let syntax = Command::new("bash").args(["-n", "-c", &block.text]).output().unwrap();
    if !syntax.status.success() {
        return Err(String::from_utf8_lossy(&syntax.stderr).trim().to_owned());
    }
    commands(&block.text)
}

/// Commands behind `$ `, and what came of them.
pub(crate) fn dialogue(block: &Block) -> Result<(), String> {
    let mut said = String::new();
    let mut has_output = false;
    for line in block.text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => said += &format!("{command}\n"),
            None => has_output = true,
        }
    }
    if said.is_empty() {
        return Err("no command: write `$ ` before it, or call it `text`".into());
    }
    script(&Block { text: said.clone(), page: block.page.clone(), language: String::new(), word: None, ..*block })?;
    if let Some(file) = block.word.as_ref().and_then(|word| word.strip_prefix("run by `")?.strip_suffix('`')) {
        let text = std::fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
        let wrong: Vec<_> = said.lines().filter(|command| !text.contains(command)).collect();
        return wrong.is_empty().then_some(()).ok_or(format!("{file} does not run {wrong:?}"));
    }
    if has_output { block.demand_word("the output of a command") } else { Ok(()) }
}

fn commands(text: &str) -> Result<(), String> {
    for line in text.replace("\\\n", " ").lines() {
        for words in simple_commands(line) {
            command(&words).map_err(|problem| format!("`{}`: {problem}", words.join(" ")))?;
        }
    }
    Ok(())
}

/// The words of each command of a line, without redirections and comments.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars().chain(['\n']) {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '\n') => words.extend(word.take()),
            (None, '|' | '&' | ';' | '(' | ')') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    commands.push(words);
    for words in &mut commands {
        if let Some(at) = words.iter().position(|word| word.starts_with(['<', '>']) || word.starts_with("2>")) {
            words.truncate(at);
        }
        // Variables of the environment come first.
        while words
            .first()
            .is_some_and(|word| word.split_once('=').is_some_and(|(name, _)| name == name.to_uppercase()))
        {
            words.remove(0);
        }
    }
    commands.retain(|words| !words.is_empty());
    commands
}

fn command(words: &[String]) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Ok(()) };
    for word in words {
        if let Some(file) = word.strip_prefix("/usr/share/doc/mailferry/") {
            let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
            let is_there =
                manifest.contains(&format!("/mailferry/{file}\"")) || root().join("docs").join(file).exists();
            is_there.then_some(()).ok_or(format!("the package has no {word}"))?;
        }
    }
    if program == "mailferry" || program.ends_with("/mailferry") {
        return ours(arguments, &[]);
    }
    if program.contains('/') {
        return root().join(program).is_file().then_some(()).ok_or(format!("there is no {program}"));
    }
    match program.as_str() {
        "systemctl" => {
            let units = arguments.iter().skip(1).filter(|word| !word.starts_with('-'));
            let wrong: Vec<_> = units.filter(|unit| !is_unit(unit)).collect();
            wrong.is_empty().then_some(()).ok_or(format!("no unit of the package: {wrong:?}"))
        }
        "loadgen" => {
            let sources: String = crate::files::rust_files("examples").into_iter().map(|(_, text)| text).collect();
            let flags = arguments.iter().filter_map(|word| word.strip_prefix("--"));
            let wrong: Vec<_> = flags.filter(|flag| !sources.contains(&flag.replace('-', "_"))).collect();
            wrong.is_empty().then_some(()).ok_or(format!("loadgen has no {wrong:?}"))
        }
        name if OF_THE_SYSTEM.split_whitespace().any(|it| it == name) => Ok(()),
        name => Err(format!("{name} is neither ours nor in the list of tests/docs/commands.rs")),
    }
}

fn is_unit(name: &str) -> bool {
    let unit = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
    root().join("packaging").join(unit).is_file()
}

/// Our own words, which may lack these.
pub(crate) fn ours(arguments: &[String], may_lack: &[ErrorKind]) -> Result<(), String> {
    let words = std::iter::once("mailferry").chain(arguments.iter().map(String::as_str));
    match mailferry::cli::definition().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(error) if may_lack.contains(&error.kind()) => Ok(()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// Commands that stand in a line of text may lack their arguments, and have names for them.
#[test]
fn every_command_of_ours_in_a_line_of_text_is_one() {
    let may_lack = [ErrorKind::MissingRequiredArgument, ErrorKind::MissingSubcommand];
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in all() {
        for (number, line) in page.prose() {
            for code in line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("mailferry ")) {
                let words: Vec<String> = code.split_whitespace().skip(1).map(str::to_owned).collect();
                if words.iter().any(|word| word.contains(['[', '|', '…'])) {
                    continue;
                }
                count += 1;
                let problem = ours(&words, &may_lack).err();
                wrong.extend(problem.map(|problem| format!("{}:{number}: `{code}`: {problem}", page.name)));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count > 20, "only {count} commands found");
}
