//! What waits to be written: commands, in order, in few pieces.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

/// Bodies at least this long are kept as they are and written from where they lie; shorter ones are
/// copied, as one more slice for the operating system costs more than the copy.
const KEPT_FROM: usize = 4096;

/// Bytes to be written, as a [`Buf`] that `writev` can take. Order is kept.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    pieces: VecDeque<Bytes>,
    /// Behind all pieces.
    tail: BytesMut,
    len: usize,
}

// === impl WriteQueue ===

impl WriteQueue {
    /// Takes memory for so many bytes to come that are not kept as they are.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.tail.reserve(bytes);
    }

    /// Whether a body of this length is copied, and not kept as it is.
    pub(crate) fn is_copied(len: usize) -> bool {
        len < KEPT_FROM
    }

    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn put_i32(&mut self, number: i32) {
        self.put_slice(&number.to_be_bytes());
    }

    pub(crate) fn put_bytes(&mut self, bytes: Bytes) {
        if Self::is_copied(bytes.len()) {
            self.put_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.len += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// All that waits, to be written later.
    pub(crate) fn into_pieces(mut self) -> Arc<[Bytes]> {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.freeze());
        }
        self.pieces.into_iter().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.tail.clear();
        self.len = 0;
    }
}

impl Buf for WriteQueue {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail, |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&*self.tail);
        let chunks = self.pieces.iter().map(|piece| &piece[..]).chain(tail);
        let mut filled = 0;
        for (slot, chunk) in slices.iter_mut().zip(chunks) {
            *slot = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.len, "more written than was there");
        self.len -= count;
        while count > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                self.tail.advance(count);
                return;
            };
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in_whatever_a_write_takes(
            bodies in prop::collection::vec(0_usize..10_000, 0..12),
            writes in prop::collection::vec(1_usize..9_000, 1..200),
        ) {
            let mut queue = WriteQueue::default();
            let mut expected = Vec::new();
            for (index, len) in bodies.iter().enumerate() {
                let body = vec![index as u8; *len];
                queue.put_i32(*len as i32);
                queue.put_bytes(body.clone().into());
                expected.extend_from_slice(&(*len as i32).to_be_bytes());
                expected.extend_from_slice(&body);
            }
            let mut written = Vec::new();
            let mut writes = writes.into_iter().cycle();
            while queue.has_remaining() {
                prop_assert_eq!(queue.remaining(), expected.len() - written.len());
                let mut slices = [IoSlice::new(&[]); 8];
                let filled = queue.chunks_vectored(&mut slices);
                prop_assert!(filled > 0);
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = offered.len().min(writes.next().unwrap_or(1));
                written.extend_from_slice(&offered[..taken]);
                queue.advance(taken);
            }
            prop_assert_eq!(written, expected);
        }
    }
}
