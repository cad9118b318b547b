use super::header::{Component, Header};
use super::huffman::{Bits, Table};

/// The samples of a component.
pub(super) struct Plane {
    width: usize,
    samples: Vec<u8>,
    /// How much coarser than the picture it is, across and down: by these powers of two.
    pub(super) shift: (u32, u32),
}

/// How a component's blocks are decoded.
struct Blocks<'a> {
    component: &'a Component,
    dc: &'a Table,
    ac: &'a Table,
    /// By the coefficient's place in the data: the step of its values, and where it goes in a block; 0xFF where it is not
    /// needed.
    places: [(f32, u8); 64],
    /// The samples of a block, across and down: 1, 2, 4 or 8.
    side: usize,
    /// Behind this place in the data no coefficient is needed.
    last: usize,
    /// The waves that a line of a block is made of, a row of `side` a sample.
    waves: [[f32; MOST]; MOST],
    before: i32,
    plane: Plane,
}

/// Where the coefficients lie in a block of 8 by 8, in the order of the data (ITU-T T.81, figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

const NOT_NEEDED: u8 = 0xFF;

/// A block has at most so many samples on a side.
const MOST: usize = 8;

/// Decodes the scan, with so many eighths of the samples on a side, and where it is to be `fine` no fewer of the colors than
/// there are; `None` where it is damaged.
pub(super) fn read(header: &Header<'_>, eighths: usize, fine: bool) -> Option<Vec<Plane>> {
    let finest = header.components.first()?;
    let across = usize::from(header.width).div_ceil(8 * finest.across);
    let down = usize::from(header.height).div_ceil(8 * finest.down);
    let blocks = header.components.iter().map(|component| {
        let (steps, dc, ac) = header.tables(component)?;
        let (wider, higher) = (finest.across / component.across, finest.down / component.down);
        // What is coarser than the picture can be decoded less coarsely.
        let finer = if fine { wider.min(higher) } else { 1 };
        let side = (eighths * finer).min(MOST);
        let shift = |coarser: usize| (coarser * eighths / side).ilog2();
        let width = across * component.across * side;
        let plane = Plane {
            width,
            samples: vec![0; width * down * component.down * side],
            shift: (shift(wider), shift(higher)),
        };
        Some(Blocks::new(component, (steps, dc, ac), side, plane))
    });
    let mut blocks: Vec<_> = blocks.collect::<Option<_>>()?;
    let mut bits = Bits::new(header.data);
    let mut done = 0_u64;
    for row in 0..down {
        for column in 0..across {
            if header.restart > 0 && done > 0 && done.is_multiple_of(header.restart.into()) {
                let number = (done / u64::from(header.restart) - 1) % 8;
                bits.restart(number as u8)?;
                blocks.iter_mut().for_each(|blocks| blocks.before = 0);
            }
            for blocks in &mut blocks {
                blocks.read_unit(&mut bits, column, row)?;
            }
            done += 1;
        }
        if bits.ran_out() {
            return None;
        }
    }
    bits.is_used_up()
        .then(|| blocks.into_iter().map(|blocks| blocks.plane).collect())
}

// === impl Blocks ===

impl<'a> Blocks<'a> {
    fn new(
        component: &'a Component,
        (steps, dc, ac): (&[u16; 64], &'a Table, &'a Table),
        side: usize,
        plane: Plane,
    ) -> Self {
        let mut places = [(0.0, NOT_NEEDED); 64];
        for ((place, step), natural) in places.iter_mut().zip(steps).zip(ZIGZAG) {
            let (line, wave) = (usize::from(natural / 8), usize::from(natural % 8));
            if line < side && wave < side {
                *place = (f32::from(*step), (line * side + wave) as u8);
            }
        }
        let mut waves = [[0.0; MOST]; MOST];
        for (sample, waves) in waves.iter_mut().enumerate().take(side) {
            for (wave, height) in waves.iter_mut().enumerate().take(side) {
                let angle = ((2 * sample + 1) * wave) as f32 * std::f32::consts::PI / (2 * side) as f32;
                let scale = if wave == 0 {
                    std::f32::consts::FRAC_1_SQRT_2
                } else {
                    1.0
                };
                *height = 0.5 * scale * angle.cos();
            }
        }
        Self {
            component,
            dc,
            ac,
            places,
            side,
            last: places
                .iter()
                .rposition(|place| place.1 != NOT_NEEDED)
                .unwrap_or(0),
            waves,
            before: 0,
            plane,
        }
    }

    /// What this component has in the unit at this column and row.
    fn read_unit(&mut self, bits: &mut Bits<'_>, column: usize, row: usize) -> Option<()> {
        for y in 0..self.component.down {
            for x in 0..self.component.across {
                let left = (column * self.component.across + x) * self.side;
                let top = (row * self.component.down + y) * self.side;
                let at = top * self.plane.width + left;
                match self.side {
                    1 => self.read_block::<1>(bits, at)?,
                    2 => self.read_block::<2>(bits, at)?,
                    4 => self.read_block::<4>(bits, at)?,
                    _ => self.read_block::<MOST>(bits, at)?,
                }
            }
        }
        Some(())
    }

    #[inline]
    fn read_block<const SIDE: usize>(&mut self, bits: &mut Bits<'_>, at: usize) -> Option<()> {
        let mut block = [[0.0_f32; SIDE]; SIDE];
        bits.ready();
        let length = bits.symbol(self.dc)?;
        if length > 11 {
            return None;
        }
        self.before = self.before.wrapping_add(bits.value(length.into()));
        block[0][0] = self.before as f32 * self.places[0].0;
        let mut place = 1;
        let mut is_flat = true;
        while place <= self.last {
            bits.ready();
            let symbol = bits.symbol(self.ac)?;
            let (zeros, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if length == 0 {
                if zeros < 15 {
                    place = 64;
                    break;
                }
                place += 16;
                continue;
            }
            place += zeros;
            let (step, to) = *self.places.get(place)?;
            if to == NOT_NEEDED {
                bits.pass(length);
            } else {
                is_flat = false;
                let to = usize::from(to);
                block[to / SIDE % SIDE][to % SIDE] = bits.value(length) as f32 * step;
            }
            place += 1;
        }
        while place < 64 {
            bits.ready();
            let symbol = bits.symbol_without_value(self.ac)?;
            if symbol & 15 == 0 && symbol < 0xF0 {
                place = 64;
                break;
            }
            place += usize::from(symbol >> 4) + 1;
        }
        if place > 64 {
            return None;
        }
        let samples = if is_flat {
            [[sample(block[0][0] / 8.0); SIDE]; SIDE]
        } else if SIDE == 2 {
            pairs(&block)
        } else {
            self.samples(&block)
        };
        for (line, samples) in samples.iter().enumerate() {
            let at = at + line * self.plane.width;
            self.plane.samples[at..at + SIDE].copy_from_slice(samples);
        }
        Some(())
    }

    /// Waves to samples: down the columns, and then along the lines.
    #[inline]
    fn samples<const SIDE: usize>(&self, block: &[[f32; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
        let mut samples = [[0; SIDE]; SIDE];
        for (samples, heights) in samples.iter_mut().zip(&self.waves) {
            let mut mixed = [0.0_f32; SIDE];
            for (waves, height) in block.iter().zip(heights) {
                for (mixed, wave) in mixed.iter_mut().zip(waves) {
                    *mixed += height * wave;
                }
            }
            for (to, heights) in samples.iter_mut().zip(&self.waves) {
                let mut value = 0.0;
                for (height, mixed) in heights.iter().zip(&mixed) {
                    value += height * mixed;
                }
                *to = sample(value);
            }
        }
        samples
    }
}

/// The same of a block of two by two, where all waves are equally high.
#[inline]
fn pairs<const SIDE: usize>(block: &[[f32; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    let mut samples = [[0; SIDE]; SIDE];
    let (sum, difference) = (
        [block[0][0] + block[1][0], block[0][1] + block[1][1]],
        [block[0][0] - block[1][0], block[0][1] - block[1][1]],
    );
    for (samples, [mean, wave]) in samples.iter_mut().zip([sum, difference]) {
        samples[0] = sample((mean + wave) / 8.0);
        samples[1] = sample((mean - wave) / 8.0);
    }
    samples
}

fn sample(value: f32) -> u8 {
    // Saturates.
    (value + 128.5) as u8
}

// === impl Plane ===

impl Plane {
    /// The samples of a line of the picture.
    pub(super) fn row(&self, y: usize) -> &[u8] {
        let first = (y >> self.shift.1) * self.width;
        &self.samples[first..first + self.width]
    }
}
