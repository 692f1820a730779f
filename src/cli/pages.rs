//! `mailferry completions` and `mailferry man`: what shells and man(1) know of the command line, from its one definition.

use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::print::complain;
use super::{Arguments, EXIT_START};

/// Written first as a whole: a reader that goes away is no failure of ours.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "mailferry", &mut script);
    let _ = stdout().write_all(&script);
    ExitCode::SUCCESS
}

/// One page for mailferry to standard output, or all pages into a folder.
pub(super) fn man(folder: Option<&Path>) -> Result<ExitCode, ExitCode> {
    let mut all = Arguments::command();
    all.build();
    let Some(folder) = folder else {
        let mut page = Vec::new();
        render(all, &mut page)?;
        let _ = stdout().write_all(&page);
        return Ok(ExitCode::SUCCESS);
    };
    let commands: Vec<Command> = all.get_subcommands().filter(|it| it.get_name() != "help").cloned().collect();
    for command in commands.into_iter().chain([all]) {
        // Built, a command knows what its page is called: mailferry-status(1).
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let path = folder.join(format!("{name}.1"));
        let mut page = Vec::new();
        render(command, &mut page)?;
        std::fs::write(&path, page).map_err(|error| {
            complain(&format!("{}: {error}", path.display()));
            ExitCode::from(EXIT_START)
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(command: Command, page: &mut Vec<u8>) -> Result<(), ExitCode> {
    clap_mangen::Man::new(command).render(page).map_err(|error| {
        complain(&error.to_string());
        ExitCode::from(EXIT_START)
    })
}
