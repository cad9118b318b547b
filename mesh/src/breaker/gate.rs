//! A state machine behind a lock, and a word beside it that spares most callers the lock.
//!
//! The word says which generation the machine is in, whether calls pass freely, and whether the machine is clear:
//! nothing that a success would have to change. It is written under the lock, after each change and before the
//! lock is given back. Who only reads it comes, in the order of things, before a change whose word is not written
//! yet. That is a fair answer: none that reads it changes anything.
//!
//! Atomics and lock come from `super::sync`, so that this file can be compiled against others in a test.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// What a gate has to know of the state machine behind it.
pub(crate) trait Gated {
    /// Counts the changes of state. What was admitted under another generation decides nothing.
    fn generation(&self) -> u64;
    /// Whether admitting a call changes nothing.
    fn passes_freely(&self) -> bool;
    /// Whether a success changes nothing either.
    fn is_clear(&self) -> bool;
}

/// A state machine that is asked without its lock while it is well.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    word: AtomicU64,
    machine: Mutex<T>,
}

/// The machine, locked. The word is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Opened<'a, T: Gated> {
    word: &'a AtomicU64,
    machine: MutexGuard<'a, T>,
}

/// In the word: calls pass freely.
const FREE: u64 = 1;
/// In the word: a success changes nothing.
const CLEAR: u64 = 2;
/// The generation lies above the two bits. It counts outages, so it does not reach 2^62.
const GENERATION_SHIFT: u32 = 2;

fn word_of(machine: &impl Gated) -> u64 {
    let free = if machine.passes_freely() { FREE } else { 0 };
    let clear = if machine.is_clear() { CLEAR } else { 0 };
    machine.generation() << GENERATION_SHIFT | free | clear
}

// === impl Gate ===

impl<T: Gated> Gate<T> {
    pub(crate) fn new(machine: T) -> Self {
        Self {
            word: AtomicU64::new(word_of(&machine)),
            machine: Mutex::new(machine),
        }
    }

    /// The generation that admits a call, where the machine need not be asked.
    pub(crate) fn pass(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & FREE != 0).then_some(word >> GENERATION_SHIFT)
    }

    /// Whether a success of a call of this generation changes nothing.
    pub(crate) fn is_clear_since(&self, generation: u64) -> bool {
        self.word.load(Ordering::Acquire) == generation << GENERATION_SHIFT | FREE | CLEAR
    }

    /// Whether a call of this generation that says nothing changes nothing.
    pub(crate) fn is_free_since(&self, generation: u64) -> bool {
        self.word.load(Ordering::Acquire) & !CLEAR == generation << GENERATION_SHIFT | FREE
    }

    /// Locks the machine, to change it.
    pub(crate) fn open(&self) -> Opened<'_, T> {
        // A machine is whole between any two of its statements, so what a panic left behind is usable.
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        Opened {
            word: &self.word,
            machine,
        }
    }
}

// === impl Opened ===

impl<T: Gated> Deref for Opened<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.machine
    }
}

impl<T: Gated> DerefMut for Opened<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.machine
    }
}

impl<T: Gated> Drop for Opened<'_, T> {
    fn drop(&mut self) {
        // Before the lock is given back: fields are dropped after this.
        self.word.store(word_of(&*self.machine), Ordering::Release);
    }
}
