use super::huffman::Table;

/// What stands before the data of a JPEG of the usual kind (ITU-T T.81, annex B).
pub(super) struct Header<'a> {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) components: Vec<Component>,
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// MCUs between restarts; 0 where there are none.
    pub(super) restart: u16,
    /// The data of the scan, to the end.
    pub(super) data: &'a [u8],
}

/// One component: where its samples lie and how they are coded.
pub(super) struct Component {
    id: u8,
    /// Blocks in an MCU: across and down.
    pub(super) across: usize,
    pub(super) down: usize,
    quantization: usize,
    dc: usize,
    ac: usize,
}

// === impl Header ===

impl<'a> Header<'a> {
    /// `None` where it is of another kind.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut header = Self {
            width: 0,
            height: 0,
            components: Vec::new(),
            quantization: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart: 0,
            data: &[],
        };
        let mut rest = bytes.strip_prefix(&[0xFF, 0xD8])?;
        loop {
            let (&[0xFF, marker], behind) = rest.split_first_chunk()? else {
                return None;
            };
            // A fill byte.
            if marker == 0xFF {
                rest = &rest[1..];
                continue;
            }
            let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
            let content = behind.get(2..length)?;
            rest = &behind[length..];
            match marker {
                0xC0 | 0xC1 => header.frame(content)?,
                0xC4 => header.huffman_tables(content)?,
                0xDA => {
                    header.scan(content)?;
                    header.data = rest;
                    return Some(header);
                }
                0xDB => header.quantization_tables(content)?,
                0xDD => header.restart = u16::from_be_bytes(content.try_into().ok()?),
                // Of applications, and comments.
                0xE0..=0xEF | 0xFE => {}
                _ => return None,
            }
        }
    }

    fn frame(&mut self, content: &[u8]) -> Option<()> {
        let (&[precision, h0, h1, w0, w1, count], components) = content.split_first_chunk()?;
        let is_usual = precision == 8 && matches!(count, 1 | 3) && self.components.is_empty();
        if !is_usual || components.len() != 3 * usize::from(count) {
            return None;
        }
        (self.width, self.height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        for component in components.chunks_exact(3) {
            let (across, down) = (component[1] >> 4, component[1] & 15);
            if ![1, 2, 4].contains(&across) || ![1, 2, 4].contains(&down) || component[2] > 3 {
                return None;
            }
            self.components.push(Component {
                id: component[0],
                across: across.into(),
                down: down.into(),
                quantization: component[2].into(),
                dc: 0,
                ac: 0,
            });
        }
        // One that is alone has no others to lie between.
        if let [alone] = &mut self.components[..] {
            (alone.across, alone.down) = (1, 1);
        }
        let first = self.components.first()?;
        let is_finest = |other: &Component| other.across <= first.across && other.down <= first.down;
        self.components.iter().all(is_finest).then_some(())
    }

    fn quantization_tables(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let mut steps = [0; 64];
            let bytes = if kind >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * bytes)?;
            for (step, value) in steps.iter_mut().zip(values.chunks_exact(bytes)) {
                *step = value.iter().fold(0, |step, byte| step << 8 | u16::from(*byte));
            }
            *self.quantization.get_mut(usize::from(kind & 15))? = Some(steps);
            content = &rest[64 * bytes..];
        }
        Some(())
    }

    fn huffman_tables(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let symbols: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let table = Table::new(counts, rest.get(..symbols)?)?;
            let tables = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(table);
            content = &rest[symbols..];
        }
        Some(())
    }

    /// One with all components, in their order.
    fn scan(&mut self, content: &[u8]) -> Option<()> {
        let (&count, rest) = content.split_first()?;
        let count = usize::from(count);
        if count == 0 || count != self.components.len() || rest.len() != 2 * count + 3 {
            return None;
        }
        for (component, told) in self.components.iter_mut().zip(rest.chunks_exact(2)) {
            if told[0] != component.id {
                return None;
            }
            (component.dc, component.ac) = (usize::from(told[1] >> 4), usize::from(told[1] & 15));
        }
        (rest[2 * count..] == [0, 63, 0]).then_some(())
    }

    /// The steps, and the tables of first and other coefficients; all are there or it cannot be decoded.
    pub(super) fn tables(&self, component: &Component) -> Option<(&[u16; 64], &Table, &Table)> {
        let steps = self.quantization.get(component.quantization)?.as_ref()?;
        let dc = self.dc.get(component.dc)?.as_ref()?;
        let ac = self.ac.get(component.ac)?.as_ref()?;
        Some((steps, dc, ac))
    }
}
