/// How many numbers describe a face.
pub const DESCRIPTOR_LENGTH: usize = 128;

/// A face as numbers: faces of one person lie near each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descriptor(pub [f32; DESCRIPTOR_LENGTH]);

// === impl Descriptor ===

impl Descriptor {
    /// From a slice of exactly [`DESCRIPTOR_LENGTH`] finite numbers; `None` for any other.
    pub fn from_slice(numbers: &[f32]) -> Option<Self> {
        let numbers: [f32; DESCRIPTOR_LENGTH] = numbers.try_into().ok()?;
        numbers
            .iter()
            .all(|number| number.is_finite())
            .then_some(Self(numbers))
    }

    /// The Euclidean distance: 0 is the same picture, below 0.6 usually the same person.
    pub fn distance(&self, other: &Self) -> f32 {
        squared_distance(&self.0, &other.0).sqrt()
    }
}

/// Summed in eight lanes, which the compiler turns into vector instructions: one sum in order would forbid
/// it to.
pub(crate) fn squared_distance(a: &[f32; DESCRIPTOR_LENGTH], b: &[f32; DESCRIPTOR_LENGTH]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (a, _) = a.as_chunks::<LANES>();
    let (b, _) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_euclidean() {
        let zero = Descriptor([0.0; DESCRIPTOR_LENGTH]);
        let mut other = zero;
        other.0[3] = 3.0;
        other.0[127] = -4.0;
        assert_eq!(zero.distance(&other), 5.0);
        assert_eq!(other.distance(&other), 0.0);
    }

    #[test]
    fn numbers_that_are_no_descriptor_are_refused() {
        assert!(Descriptor::from_slice(&[0.0; 127]).is_none());
        assert!(Descriptor::from_slice(&[f32::NAN; DESCRIPTOR_LENGTH]).is_none());
        assert!(Descriptor::from_slice(&[0.5; DESCRIPTOR_LENGTH]).is_some());
    }
}
