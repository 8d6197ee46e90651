//! Starts that wait for memory: what runs holds its request, and who does not fit beside that stays in the queue.
#![forbid(unsafe_code)]

use procfs::Current;
use tracing::warn;

use super::options::Options;
use super::owner::Owner;
use crate::memory::admission::Capacity;
use crate::names::Instance;

/// What this host has for requests; `None` = its memory is not known, and nobody waits.
pub(super) fn capacity(options: &Options) -> Option<Capacity> {
    match procfs::Meminfo::current() {
        Ok(info) => Some(Capacity::new(info.mem_total, options.memory_reserve, options.memory_overcommit)),
        Err(e) => {
            warn!("starts do not wait for memory: /proc/meminfo: {e}");
            None
        }
    }
}

impl Owner {
    /// Whether there is memory for an instance whose turn it is; else that is said, once.
    pub(super) fn has_room(&mut self, instance: &Instance) -> bool {
        let why = self.no_room(instance);
        let Some(slot) = self.slots.get_mut(instance) else { return false };
        let told = slot.no_room.is_some();
        slot.no_room = why;
        let Some(text) = slot.no_room.clone() else { return true };
        if !told {
            let text = format!("waits for {text}");
            self.tell(Some(&instance.service), Some(instance.replica), "admission-refused", text);
        }
        false
    }

    fn no_room(&self, instance: &Instance) -> Option<String> {
        let capacity = self.capacity.as_ref()?;
        let request = self.request(instance)?;
        let holders = self.slots.iter().filter(|(_, slot)| slot.machine.run().is_some());
        let holders = holders.filter_map(|(i, _)| Some((i.to_string(), self.request(i)?)));
        capacity.admit(request, holders.collect()).err()
    }

    fn request(&self, instance: &Instance) -> Option<u64> {
        match self.services.get(&instance.service) {
            Some(in_force) => in_force.service.limits.memory_request,
            None => self.slots.get(instance)?.made_from.as_ref()?.0.limits.memory_request,
        }
    }
}
