//! Arrays that the kernel shares with us: read and written as memory, without a system call for each entry.
#![expect(unsafe_code, reason = "memory that the kernel reads and writes at the same time")]

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::Pod;

/// Words of the largest value.
const WORDS_MAX: usize = 8;

/// The values of an array map with `BPF_F_MMAPABLE`. Their size must be a multiple of eight bytes: so the kernel lays them.
pub(crate) struct SharedArray<V> {
    memory: *mut u64,
    bytes: usize,
    count: u32,
    values: PhantomData<V>,
}

// SAFETY: the mapping belongs to this value alone and is accessed through atomics.
unsafe impl<V: Send> Send for SharedArray<V> {}

impl<V: Pod + Default> SharedArray<V> {
    const WORDS: usize = size_of::<V>() / 8;

    /// Maps all of the array's `count` values.
    pub(crate) fn map(map: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        const { assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() <= 8) };
        let bytes = (count as usize * size_of::<V>()).next_multiple_of(4096);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the descriptor is live, and the kernel checks the length.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { memory: memory.cast(), bytes, count, values: PhantomData })
    }

    /// How many values it holds.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// One value; the kernel may write its words one by one meanwhile. All zeroes beyond the end.
    pub(crate) fn get(&self, index: u32) -> V {
        const { assert!(Self::WORDS <= WORDS_MAX) };
        let mut words = [0u64; WORDS_MAX];
        for (place, word) in words.iter_mut().enumerate().take(Self::WORDS) {
            *word = self.word(index, place).map_or(0, |word| word.load(Ordering::Relaxed));
        }
        // SAFETY: at least as many bytes as a `V`, which any bits make.
        unsafe { words.as_ptr().cast::<V>().read_unaligned() }
    }

    /// Writes one value, its words in order. `false` beyond the end.
    pub(crate) fn set(&self, index: u32, value: &V) -> bool {
        let source = std::ptr::from_ref(value).cast::<u64>();
        for place in 0..Self::WORDS {
            let Some(word) = self.word(index, place) else { return false };
            // SAFETY: `place` is within the value.
            word.store(unsafe { source.add(place).read_unaligned() }, Ordering::Relaxed);
        }
        true
    }

    fn word(&self, index: u32, place: usize) -> Option<&AtomicU64> {
        if index >= self.count {
            return None;
        }
        // SAFETY: within the mapping, which lives as long as `self`; aligned, because it begins at a page.
        Some(unsafe { AtomicU64::from_ptr(self.memory.add(index as usize * Self::WORDS + place)) })
    }
}

impl<V> Drop for SharedArray<V> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; nobody can hold a reference into it any more.
        unsafe { libc::munmap(self.memory.cast(), self.bytes) };
    }
}
