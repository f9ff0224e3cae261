//! Drives one workload against an MQTT server on 127.0.0.1 and prints one line of `name=value`
//! about the interval that was measured: messages, seconds, the CPU time and the memory of the
//! server's process, the CPU time of everything else on the machine, and latencies where the workload
//! has them.
//!
//! # Layout
//!
//! `client` is a connection, `packet` the bytes that are sent on it, encoded beforehand; `workload`
//! has a file for each workload; `usage` looks at the server's process and the machine.
//!
//! A workload first runs unmeasured to warm the server up. A message counts once the server has
//! dealt with it, which the workload makes sure before its interval ends.

mod client;
mod packet;
mod usage;
mod workload;

use clap::Parser;
use std::io;
use std::time::{Duration, Instant};
use usage::Usage;
use workload::{Kind, Outcome};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// The server's port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The server's process.
    #[arg(long)]
    pid: i32,
    /// How long to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to run before.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[command(subcommand)]
    workload: Kind,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut workload = arguments.workload.start(arguments.port)?;
    workload.run(Duration::from_secs_f64(arguments.warm_up))?;

    let before = Usage::now(arguments.pid)?;
    let start = Instant::now();
    let outcome = workload.run(Duration::from_secs_f64(arguments.seconds))?;
    let elapsed = start.elapsed();
    let after = Usage::now(arguments.pid)?;

    report(&outcome, elapsed, &before, &after);
    Ok(())
}

fn report(outcome: &Outcome, elapsed: Duration, before: &Usage, after: &Usage) {
    print!(
        "messages={} seconds={} cpu_seconds={} others_cpu_seconds={} resident={}",
        outcome.messages,
        elapsed.as_secs_f64(),
        after.cpu.saturating_sub(before.cpu).as_secs_f64(),
        after.others_cpu.saturating_sub(before.others_cpu).as_secs_f64(),
        after.resident,
    );
    if let Some(latency) = &outcome.latency {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            let nanoseconds = Duration::from_nanos(latency.value_at_quantile(quantile));
            print!(" {name}={}", nanoseconds.as_secs_f64());
        }
    }
    println!();
}
