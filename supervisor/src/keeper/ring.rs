//! What was read from a container and is not yet written: a bounded queue of pieces, each with the time of its reading.
//! Never grows; when it is full the oldest pieces go and are counted.
#![forbid(unsafe_code)]

/// Bytes before each piece: when it was read, how long it is.
const HEAD: usize = 12;

/// From this high-water mark on, memory is given back when the queue is empty again.
const KEEP: usize = 64 * 1024;

/// The queue. Its memory is taken once and touched only as far as the queue has ever been filled.
#[derive(Debug)]
pub struct Ring {
    bytes: Box<[u8]>,
    head: usize,
    used: usize,
    highest: usize,
    dropped: u64,
}

impl Ring {
    /// A queue of so many bytes, at least 64.
    pub fn new(size: usize) -> Ring {
        // A zeroed allocation of this size is fresh pages of the kernel: nothing is touched.
        Ring { bytes: vec![0; size.max(64)].into(), head: 0, used: 0, highest: 0, dropped: 0 }
    }

    /// Whether a piece of this length goes in without losing another.
    pub fn fits(&self, len: usize) -> bool {
        HEAD + len <= self.bytes.len() - self.used
    }

    /// Whether it is at most half full.
    pub fn has_room(&self) -> bool {
        self.used <= self.bytes.len() / 2
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Puts a piece in; the oldest go for it. One that is larger than the whole queue only counts as dropped.
    pub fn push(&mut self, time: u64, piece: &[u8]) {
        if HEAD + piece.len() > self.bytes.len() {
            self.dropped += piece.len() as u64;
            return;
        }
        while !self.fits(piece.len()) {
            let (_, len) = self.front();
            self.dropped += len as u64;
            self.skip(HEAD + len);
        }
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&time.to_le_bytes());
        head[8..].copy_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.put(&head);
        self.put(piece);
        self.highest = self.highest.max(self.used);
    }

    /// When the oldest piece was read.
    pub fn oldest(&self) -> Option<u64> {
        (self.used > 0).then(|| self.front().0)
    }

    /// Takes the oldest piece out: its time and its length in `into`. What does not fit is dropped.
    pub fn pop(&mut self, into: &mut [u8]) -> Option<(u64, usize)> {
        self.oldest()?;
        let (time, len) = self.front();
        let n = len.min(into.len());
        self.copy(HEAD, &mut into[..n]);
        self.dropped += (len - n) as u64;
        self.skip(HEAD + len);
        if self.used == 0 {
            // Begins at the front again, so that a quiet container's queue touches one page, not all of them in turn.
            self.head = 0;
            if self.highest > KEEP {
                crate::sys::keeper::release(&mut self.bytes);
            }
            self.highest = 0;
        }
        Some((time, n))
    }

    /// Bytes dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Whether bytes were dropped since the last [`Ring::take_dropped`].
    pub fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        while self.used > 0 {
            let (_, len) = self.front();
            self.dropped += len as u64;
            self.skip(HEAD + len);
        }
    }

    fn front(&self) -> (u64, usize) {
        let (mut time, mut len) = ([0; 8], [0; 4]);
        self.copy(0, &mut time);
        self.copy(8, &mut len);
        (u64::from_le_bytes(time), u32::from_le_bytes(len) as usize)
    }

    fn skip(&mut self, n: usize) {
        self.head = (self.head + n) % self.bytes.len();
        self.used -= n;
    }

    fn put(&mut self, part: &[u8]) {
        let at = (self.head + self.used) % self.bytes.len();
        let first = part.len().min(self.bytes.len() - at);
        self.bytes[at..at + first].copy_from_slice(&part[..first]);
        self.bytes[..part.len() - first].copy_from_slice(&part[first..]);
        self.used += part.len();
    }

    fn copy(&self, from: usize, into: &mut [u8]) {
        let at = (self.head + from) % self.bytes.len();
        let first = into.len().min(self.bytes.len() - at);
        let (a, b) = into.split_at_mut(first);
        a.copy_from_slice(&self.bytes[at..at + first]);
        b.copy_from_slice(&self.bytes[..b.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in_around_the_end() {
        let mut ring = Ring::new(100);
        let mut out = [0; 64];
        let (mut wrote, mut read) = (0u64, 0u64);
        for round in 0..500u64 {
            while ring.fits((round % 30) as usize) {
                ring.push(wrote, &vec![wrote as u8; (round % 30) as usize]);
                wrote += 1;
            }
            for _ in 0..=round % 3 {
                if let Some((time, len)) = ring.pop(&mut out) {
                    assert_eq!(time, read);
                    assert!(out[..len].iter().all(|b| *b == read as u8));
                    read += 1;
                }
            }
        }
        while ring.pop(&mut out).is_some() {
            read += 1;
        }
        assert_eq!(read, wrote);
        assert_eq!(ring.take_dropped(), 0);
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut ring = Ring::new(100);
        let mut out = [0; 64];
        for n in 0..10 {
            ring.push(n, &[n as u8; 20]);
        }
        // Three pieces of 32 bytes fit.
        assert_eq!(ring.take_dropped(), 7 * 20);
        assert_eq!(ring.take_dropped(), 0);
        assert_eq!(ring.pop(&mut out), Some((7, 20)));
        assert_eq!(out[..20], [7; 20]);
        ring.push(99, &[0; 101]);
        assert_eq!((ring.take_dropped(), ring.oldest()), (101, Some(8)));
        ring.clear();
        assert_eq!((ring.take_dropped(), ring.oldest()), (40, None));
    }

    #[test]
    fn a_large_queue_is_empty_and_usable_after_its_memory_went_back() {
        let mut ring = Ring::new(1 << 20);
        let mut out = vec![0; 32 * 1024];
        for round in 0..3 {
            for n in 0..20 {
                ring.push(n, &[round + 1; 32 * 1024]);
            }
            for n in 0..20 {
                assert_eq!(ring.pop(&mut out), Some((n, out.len())));
                assert!(out.iter().all(|b| *b == round + 1));
            }
        }
    }
}
