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
mod kind;
mod mixed;
mod paced;
mod pairs;
mod pairs_acknowledged;
mod peers;
mod retained;
mod shared;
mod window;

pub(crate) use kind::Kind;

use crate::Server;
use crate::latency::Latency;
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
            Self::Flood { connections, size, topics, qos: Qos::AtMostOnce, .. } => {
                Box::new(flood::Flood::start(port, connections, size, topics.max(1))?)
            }
            Self::Flood { connections, size, qos, window, .. } => {
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
            Self::Pairs { pairs, size, qos: Qos::AtMostOnce, window } => {
                Box::new(pairs::start(port, pairs, size, window.into())?)
            }
            Self::Pairs { pairs, size, window, .. } => {
                Box::new(pairs_acknowledged::start(port, pairs, size, window)?)
            }
            Self::Shared { members, publishers, size, window } => {
                let window = window.into();
                Box::new(shared::Shared::start(port, members, publishers, size, window)?)
            }
            Self::Retained { count } => Box::new(retained::Retained::start(port, count)?),
            Self::Echo { connections: 1, size } => Box::new(echo::Echo::start(server, size)?),
            Self::Echo { connections, size } => Box::new(echoer::start(server, connections, size)?),
            Self::FanOut { subscribers, size, window } => {
                Box::new(fan_out::FanOut::start(port, subscribers, size, window)?)
            }
        })
    }
}
