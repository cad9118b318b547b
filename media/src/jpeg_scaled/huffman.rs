/// Codes of at most so many bits are found in one step.
const SHORT: u32 = 10;

/// A Huffman table (ITU-T T.81, annex C).
pub(super) struct Table {
    /// By the next [`SHORT`] bits: symbol, and length of the code; length 0 where it is longer.
    short: Vec<(u8, u8)>,
    /// By the length of the code: what lies below is a code of this length, left-aligned in 16 bits, and what is to be added
    /// to a code for its place among the symbols.
    ends: [(u32, i32); 17],
    symbols: Vec<u8>,
}

/// The bits of a scan, from the first one on. Behind the end come zeros.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first one uppermost. Those below the `count` uppermost are zeros, or those of `data[at..]`.
    next: u64,
    count: u32,
    /// Of those `count` bits and those before, so many were not there.
    missing: u32,
}

// === impl Table ===

impl Table {
    /// `None` where there are more codes than bits for them.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            short: vec![(0, 0); 1 << SHORT],
            ends: [(0, 0); 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1..).zip(counts) {
            table.ends[length as usize].1 = place as i32 - code as i32;
            for _ in 0..*count {
                if code >= 1 << length {
                    return None;
                }
                if length <= SHORT {
                    let first = (code << (SHORT - length)) as usize;
                    let entries = &mut table.short[first..first + (1 << (SHORT - length))];
                    entries.fill((symbols[place], length as u8));
                }
                code += 1;
                place += 1;
            }
            table.ends[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }
}

// === impl Bits ===

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            at: 0,
            next: 0,
            count: 0,
            missing: 0,
        }
    }

    /// Has at least 32 bits ready: a code of 16 bits, and a value of 16.
    #[inline(always)]
    pub(super) fn ready(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    #[inline]
    fn refill(&mut self) {
        if let Some(eight) = self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let word = u64::from_be_bytes(*eight);
            // Whether none of the bytes is 0xFF, by the borrow that a zero byte causes.
            let turned = !word;
            if turned.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0 {
                self.next |= word >> self.count;
                self.at += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
                return;
            }
        }
        while self.count <= 56 {
            let byte = match self.data.get(self.at..) {
                // A byte of 0xFF is followed by a zero, that it is no marker.
                Some([0xFF, 0x00, ..]) => {
                    self.at += 2;
                    0xFF
                }
                Some([0xFF, ..] | []) | None => {
                    self.missing += 8;
                    0
                }
                Some([byte, ..]) => {
                    self.at += 1;
                    *byte
                }
            };
            self.next |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The symbol that comes next. Bits have to be [ready](Bits::ready), as for the others.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u8> {
        let (symbol, length) = table.short[(self.next >> (64 - SHORT)) as usize];
        if length > 0 {
            self.pass(length.into());
            return Some(symbol);
        }
        self.long_symbol(table)
    }

    /// The same, and passes over the value that belongs to it.
    #[inline(always)]
    pub(super) fn symbol_without_value(&mut self, table: &Table) -> Option<u8> {
        let (symbol, length) = table.short[(self.next >> (64 - SHORT)) as usize];
        if length > 0 {
            self.pass(u32::from(length) + u32::from(symbol & 15));
            return Some(symbol);
        }
        let symbol = self.long_symbol(table)?;
        self.pass((symbol & 15).into());
        Some(symbol)
    }

    #[cold]
    fn long_symbol(&mut self, table: &Table) -> Option<u8> {
        let ahead = (self.next >> 48) as u32;
        let length = (SHORT + 1..=16).find(|length| ahead < table.ends[*length as usize].0)?;
        let code = (ahead >> (16 - length)) as i32;
        self.pass(length);
        let place = usize::try_from(code + table.ends[length as usize].1).ok()?;
        table.symbols.get(place).copied()
    }

    /// A value of so many bits, 0 to 16: of positive ones the first bit is set (ITU-T T.81, F.2.2.1).
    #[inline(always)]
    pub(super) fn value(&mut self, length: u32) -> i32 {
        if length == 0 {
            return 0;
        }
        let bits = (self.next >> (64 - length)) as i32;
        let is_negative = (self.next >> 63) == 0;
        self.pass(length);
        if is_negative {
            bits - (1 << length) + 1
        } else {
            bits
        }
    }

    #[inline(always)]
    pub(super) fn pass(&mut self, length: u32) {
        self.next <<= length;
        self.count -= length;
    }

    /// Whether bits were taken that are not there.
    pub(super) fn ran_out(&self) -> bool {
        self.count < self.missing
    }

    /// Goes on behind this restart marker; `None` where it is not what comes next.
    pub(super) fn restart(&mut self, number: u8) -> Option<()> {
        if !self.is_used_up() || *self.data.get(self.at..)?.first_chunk()? != [0xFF, 0xD0 + number] {
            return None;
        }
        *self = Self::new(&self.data[self.at + 2..]);
        Some(())
    }

    /// Whether what is left is the rest of a byte.
    pub(super) fn is_used_up(&mut self) -> bool {
        // What is left is taken in, and more than that is missing.
        self.refill();
        let is_at_marker = matches!(self.data.get(self.at..), Some([0xFF, next, ..]) if *next != 0);
        (is_at_marker || self.at == self.data.len()) && !self.ran_out() && self.count - self.missing < 8
    }
}
