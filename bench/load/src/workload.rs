//! What is done with the server.

mod churn;
mod connect;
mod cycles;
mod echo;
mod echoer;
mod exchange;
mod fan_out;
mod flood;
mod flood_acknowledged;
mod flood_out;
mod idle;
mod mixed;
mod paced;
mod pairs;
mod peers;

use crate::Server;
use crate::latency::Latency;
use clap::builder::TypedValueParser;
use clap::{Subcommand, value_parser};
use mqtt_codec::Qos;
use std::io;
use std::time::Duration;

pub(crate) trait Workload {
    /// Runs unmeasured.
    fn warm_up(&mut self, duration: Duration) -> io::Result<()> {
        self.run(duration).map(drop)
    }

    /// Runs for this long, and then until the server has dealt with everything.
    fn run(&mut self, duration: Duration) -> io::Result<Outcome>;

    /// How many connections are open.
    fn connections(&self) -> usize;

    /// What there is to tell besides.
    fn finish(&mut self) -> io::Result<Vec<Figure>> {
        Ok(Vec::new())
    }
}

/// Its name and value.
pub(crate) type Figure = (String, f64);

pub(crate) struct Outcome {
    /// Messages that the server has dealt with: those it received, or delivered in a fan-out.
    pub(crate) messages: u64,
    pub(crate) latency: Option<Latency>,
}

#[derive(Subcommand)]
pub(crate) enum Kind {
    /// Opens connections and closes them, a number at a time.
    Connect {
        #[arg(long, default_value_t = 50)]
        parallel: usize,
    },
    /// Opens connections and leaves them alone, and looks at the server's memory.
    Idle {
        #[arg(long, default_value_t = 8_000)]
        connections: usize,
        /// Seconds until the server has hibernated.
        #[arg(long, default_value_t = 17.0)]
        wait: f64,
    },
    /// Opens many connections and closes them, and looks at the server's memory.
    Churn {
        #[arg(long, default_value_t = 50)]
        parallel: usize,
        /// The server has its usual size after so many of them.
        #[arg(long, default_value_t = 10_000)]
        early: u64,
        #[arg(long, default_value_t = 100_000)]
        connections: u64,
    },
    /// Publishes as fast as the server reads, which ignores the messages.
    Flood {
        #[arg(long, default_value_t = 10)]
        connections: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        #[arg(long, default_value = "0", value_parser = qos())]
        qos: Qos,
        /// Messages of a connection that are not acknowledged, at most; at QoS 0 none is.
        #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u16).range(1..))]
        window: u16,
    },
    /// Asks for messages, which the server publishes as fast as they are read and acknowledged.
    FloodOut {
        #[arg(long, default_value_t = 10)]
        connections: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        #[arg(long, default_value = "0", value_parser = qos())]
        qos: Qos,
    },
    /// Publishes at a fixed rate, spread over the connections, each of which gets its messages back.
    Paced {
        #[arg(long, default_value_t = 500)]
        connections: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// Messages a second, of all connections together.
        #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u32).range(1..))]
        rate: u32,
    },
    /// Connections with a message a second, which they get back, beside one that publishes as fast as
    /// the server reads.
    Mixed {
        #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..))]
        connections: u32,
        /// Of the messages of the one.
        #[arg(long, default_value_t = 65_536)]
        size: usize,
        /// How long to measure without it before, in seconds.
        #[arg(long, default_value_t = 2.0)]
        calm: f64,
    },
    /// Publishers, each to a subscriber of its own.
    Pairs {
        #[arg(long, default_value_t = 10)]
        pairs: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// Messages of a pair on the way, at most.
        #[arg(long, default_value_t = 32)]
        window: u64,
    },
    /// Connections publish, wait until the server published it back, and start again.
    Echo {
        #[arg(long, default_value_t = 1)]
        connections: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
    },
    /// One connection publishes to many, with a number of its messages on the way at most.
    FanOut {
        #[arg(long, default_value_t = 100)]
        subscribers: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        #[arg(long, default_value_t = 1)]
        window: usize,
    },
}

impl Kind {
    /// Connects.
    pub(crate) fn start(self, server: Server) -> io::Result<Box<dyn Workload>> {
        let Server { port, pid, .. } = server;
        Ok(match self {
            Self::Connect { parallel } => Box::new(connect::Connect::start(port, parallel)?),
            Self::Idle { connections, wait } => {
                let wait = Duration::from_secs_f64(wait);
                Box::new(idle::Idle::start(port, pid, connections, wait))
            }
            Self::Churn { parallel, early, connections } => {
                Box::new(churn::Churn::start(port, pid, parallel, early, connections)?)
            }
            Self::Flood { connections, size, qos: Qos::AtMostOnce, .. } => {
                Box::new(flood::Flood::start(port, connections, size)?)
            }
            Self::Flood { connections, size, qos, window } => {
                Box::new(flood_acknowledged::start(port, connections, size, qos, window)?)
            }
            Self::FloodOut { connections, size, qos } => {
                Box::new(flood_out::start(port, connections, size, qos)?)
            }
            Self::Paced { connections, size, rate } => {
                Box::new(paced::Paced::start(server, connections, size, rate)?)
            }
            Self::Mixed { connections, size, calm } => {
                let calm = Duration::from_secs_f64(calm);
                Box::new(mixed::Mixed::start(server, connections, size, calm)?)
            }
            Self::Pairs { pairs, size, window } => {
                Box::new(pairs::start(port, pairs, size, window)?)
            }
            Self::Echo { connections: 1, size } => Box::new(echo::Echo::start(server, size)?),
            Self::Echo { connections, size } => Box::new(echoer::start(server, connections, size)?),
            Self::FanOut { subscribers, size, window } => {
                Box::new(fan_out::FanOut::start(port, subscribers, size, window)?)
            }
        })
    }
}

fn qos() -> impl TypedValueParser<Value = Qos> {
    value_parser!(u8)
        .range(0..=2)
        .try_map(|bits| Qos::from_bits(bits).ok_or("there is no such QoS"))
}
