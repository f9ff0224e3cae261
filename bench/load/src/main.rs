//! Drives one workload against an MQTT server on 127.0.0.1 and prints one line of `name=value`
//! about the interval that was measured: messages, seconds, the CPU time and the memory of the
//! server's process, the CPU time of everything else on the machine, and latencies where the workload
//! has them.
//!
//! # Layout
//!
//! `client` is a connection, `packet` the bytes that are sent on it, encoded beforehand, `template` those
//! that differ a little each time, and `timed` those that tell their time; `workload` has a file for each
//! workload, of which those with many connections share `peers`, which is the sockets, and `exchange`,
//! `paced` or `cycles`, which say when something is sent, and `kind`, which is their arguments; `latency`
//! is a histogram; `usage` looks at the server's process and the machine.
//!
//! A workload first runs unmeasured to warm the server up. A message counts once the server has
//! dealt with it, which the workload makes sure before its interval ends.

mod client;
mod latency;
mod packet;
mod template;
mod timed;
mod usage;
mod workload;

use clap::Parser;
use latency::Latency;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::time::{Duration, Instant};
use usage::Usage;
use workload::{Kind, Outcome};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(flatten)]
    server: Server,
    /// How long to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to run before.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[command(subcommand)]
    workload: Kind,
}

/// What is measured.
#[derive(Clone, Copy, clap::Args)]
struct Server {
    /// The server's port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The server's process.
    #[arg(long)]
    pid: i32,
    /// It is a broker: what is to be echoed is published to a topic that the client subscribes to.
    #[arg(long)]
    broker: bool,
}

fn main() -> io::Result<()> {
    let Arguments { server, seconds, warm_up, workload } = Arguments::parse();
    let pid = server.pid;
    open_many_files()?;

    let fresh = Usage::now(pid)?;
    let mut workload = workload.start(server)?;
    workload.warm_up(Duration::from_secs_f64(warm_up))?;

    let before = Usage::now(pid)?;
    let start = Instant::now();
    let outcome = workload.run(Duration::from_secs_f64(seconds))?;
    let elapsed = start.elapsed();
    let after = Usage::now(pid)?;

    report(&outcome, elapsed, &before, &after);
    print!(" fresh={} connections={}", fresh.resident, workload.connections());
    for (name, value) in workload.finish()? {
        print!(" {name}={value}");
    }
    println!();
    Ok(())
}

/// As many as this process may have at all.
fn open_many_files() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn report(outcome: &Outcome, elapsed: Duration, before: &Usage, after: &Usage) {
    print!(
        "messages={} seconds={} cpu_seconds={} load_cpu_seconds={} others_cpu_seconds={} resident={} peak={}",
        outcome.messages,
        elapsed.as_secs_f64(),
        after.cpu.saturating_sub(before.cpu).as_secs_f64(),
        after.load_cpu.saturating_sub(before.load_cpu).as_secs_f64(),
        after.others_cpu.saturating_sub(before.others_cpu).as_secs_f64(),
        after.resident,
        after.peak,
    );
    for (name, seconds) in outcome.latency.iter().flat_map(Latency::quantiles) {
        print!(" {name}={seconds}");
    }
}
