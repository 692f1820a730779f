//! What is watched while clients are at work: the CPU of the proxy's processes, and what arrives at the node.

use clap::Args;

use super::counts::{self, Counted};
use super::cpu::{self, Cpu, Used};

#[derive(Args)]
pub(crate) struct Watch {
    /// A process of the proxy: it and all its descendants, the dead ones too, are counted. May be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Where the node tells its counts: logins and octets are then those that it has seen.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) counts: Option<String>,
}

/// How it stood when the measurement began.
pub(crate) struct Before {
    cpu: Option<Cpu>,
    counted: Option<Counted>,
}

/// What happened since.
pub(crate) struct Spent {
    /// CPU of the proxy; `None` without a process.
    pub(crate) cpu: Option<Used>,
    /// At the node; `None` when there is nobody to ask.
    pub(crate) counted: Option<Counted>,
}

impl Watch {
    pub(crate) async fn before(&self) -> Result<Before, String> {
        Ok(Before { cpu: self.cpu()?, counted: self.counted().await? })
    }

    pub(crate) async fn since(&self, before: &Before) -> Result<Spent, String> {
        let cpu = self.cpu()?.zip(before.cpu.as_ref()).map(|(after, before)| after.since(before));
        let counted = self.counted().await?.zip(before.counted).map(|(after, before)| after.since(before));
        Ok(Spent { cpu, counted })
    }

    fn cpu(&self) -> Result<Option<Cpu>, String> {
        if self.pid.is_empty() { Ok(None) } else { cpu::cpu(&self.pid).map(Some) }
    }

    pub(crate) async fn counted(&self) -> Result<Option<Counted>, String> {
        match &self.counts {
            Some(address) => counts::ask(address).await.map(Some),
            None => Ok(None),
        }
    }
}
