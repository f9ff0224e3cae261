//! What the server's process uses, and what the rest of the machine does meanwhile.

use procfs::process::{Process, Stat};
use procfs::{CurrentSI, KernelStats, ProcResult};
use std::io;
use std::time::Duration;

/// The CPU times are counted in ticks of usually 10 ms, from some moment on.
pub(crate) struct Usage {
    /// Of the server.
    pub(crate) cpu: Duration,
    /// Of this process.
    pub(crate) load_cpu: Duration,
    /// Of all other processes. It is estimated from samples.
    pub(crate) others_cpu: Duration,
    /// Bytes of memory that the server has at the moment.
    pub(crate) resident: u64,
    /// And the most that it ever had.
    pub(crate) peak: u64,
}

impl Usage {
    pub(crate) fn now(server: i32) -> io::Result<Self> {
        Self::read(server).map_err(io::Error::other)
    }

    fn read(server: i32) -> ProcResult<Self> {
        let server = Process::new(server)?;
        let peak = server.status()?.vmhwm.unwrap_or(0) * 1024;
        let server = server.stat()?;
        let ourselves = Process::myself()?.stat()?;
        let machine = KernelStats::current()?.total;
        // Without what is done in interrupts, which is also counted as the time of a process if one was running, and otherwise is nobody's.
        let all = machine.user + machine.nice + machine.system + machine.steal.unwrap_or(0);
        Ok(Self {
            cpu: duration(ticks(&server)),
            load_cpu: duration(ticks(&ourselves)),
            others_cpu: duration(all.saturating_sub(ticks(&server) + ticks(&ourselves))),
            resident: server.rss * procfs::page_size(),
            peak,
        })
    }
}

fn ticks(process: &Stat) -> u64 {
    process.utime + process.stime
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / procfs::ticks_per_second() as u32
}
