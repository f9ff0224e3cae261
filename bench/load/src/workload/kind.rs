//! The workloads and their arguments.

use clap::builder::TypedValueParser;
use clap::{Subcommand, value_parser};
use mqtt_codec::Qos;

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
        /// One after the other; at QoS 0.
        #[arg(long, default_value_t = 1)]
        topics: usize,
        #[arg(long, default_value = "0", value_parser = qos(2))]
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
        #[arg(long, default_value = "0", value_parser = qos(2))]
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
        /// 0 or 1, on both ways.
        #[arg(long, default_value = "0", value_parser = qos(1))]
        qos: Qos,
        /// Messages of a pair on the way, at most.
        #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(1..))]
        window: u16,
    },
    /// Publishers to the members of a shared subscription, at MQTT 5.0.
    Shared {
        #[arg(long, default_value_t = 10)]
        members: usize,
        #[arg(long, default_value_t = 10)]
        publishers: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// Messages of all publishers on the way, at most.
        #[arg(long, default_value_t = 320, value_parser = value_parser!(u16).range(1..))]
        window: u16,
    },
    /// Stores retained messages, and subscribes to all of them, again and again.
    Retained {
        #[arg(long, default_value_t = 100_000)]
        count: usize,
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

/// Up to this one.
fn qos(highest: i64) -> impl TypedValueParser<Value = Qos> {
    value_parser!(u8)
        .range(0..=highest)
        .try_map(|bits| Qos::from_bits(bits).ok_or("there is no such QoS"))
}
