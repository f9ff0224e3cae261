//! Who may come in: the limits of a listener, applied before anything is paid for a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The limits of a listener and what is open under them. Touched by who accepts, one at a time under the listener's lock, and by whoever
/// closes the last of a socket.
pub(crate) struct Gate {
    max_connections: usize,
    max_per_address: Option<usize>,
    open: AtomicUsize,
    /// Only kept where it is limited.
    per_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A place under the limits, given back when it is dropped.
pub(crate) struct Slot {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(crate) fn new(max_connections: usize, max_per_address: Option<usize>) -> Self {
        Self {
            max_connections,
            max_per_address,
            open: AtomicUsize::new(0),
            per_address: Mutex::new(HashMap::new()),
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a client from `address`, if the limits allow one.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        // IPv4 behind a dual-stack socket is the same peer as IPv4.
        let address = address.to_canonical();
        if self.open() >= self.max_connections || !self.enter_address(address) {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Slot { gate: self.clone(), address })
    }

    fn enter_address(&self, address: IpAddr) -> bool {
        let Some(max) = self.max_per_address else { return true };
        let mut per_address = self.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = per_address.entry(address).or_insert(0);
        let free = *open < max;
        *open += usize::from(free);
        free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        if self.gate.max_per_address.is_some() {
            let mut per_address =
                self.gate.per_address.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = per_address.get_mut(&self.address) {
                *open -= 1;
                if *open == 0 {
                    per_address.remove(&self.address);
                }
            }
        }
    }
}
