//! AS_PATH and AS4_PATH (RFC 4271 section 4.3, RFC 6793 section 4.2).

use alloc::vec::Vec;

use super::super::reader::Reader;
use super::Asn;

/// How the numbers of a segment are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// AS_SET: without order.
    Set,
    /// AS_SEQUENCE: the AS that the route was received from comes first.
    Sequence,
    /// AS_CONFED_SEQUENCE (RFC 5065 section 3).
    ConfederationSequence,
    /// AS_CONFED_SET.
    ConfederationSet,
}

impl SegmentKind {
    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfederationSequence),
            4 => Some(Self::ConfederationSet),
            _ => None,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfederationSequence => 3,
            Self::ConfederationSet => 4,
        }
    }
}

/// A part of an AS path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// How the numbers are to be read.
    pub kind: SegmentKind,
    /// The numbers: at least one (RFC 7606 section 7.2) and at most 255.
    pub numbers: Vec<Asn>,
}

impl Segment {
    fn joins(&self, next: &Self) -> bool {
        self.kind == SegmentKind::Sequence
            && next.kind == SegmentKind::Sequence
            && self.numbers.len() + next.numbers.len() <= 255
    }
}

/// A path of AS numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AsPath(pub Vec<Segment>);

impl AsPath {
    /// Returns the path through these ASes, in segments of at most 255.
    pub fn sequence(numbers: Vec<Asn>) -> Self {
        let segment = |numbers: &[Asn]| Segment {
            kind: SegmentKind::Sequence,
            numbers: numbers.to_vec(),
        };
        Self(numbers.chunks(255).map(segment).collect())
    }

    /// Puts the number of an AS in front, as the AS does that sends a route on (RFC 4271 section 5.1.2).
    pub fn prepend(&mut self, asn: Asn) {
        let first = self.0.first_mut();
        let first = first.filter(|first| first.kind == SegmentKind::Sequence && first.numbers.len() < 255);
        match first {
            Some(first) => first.numbers.insert(0, asn),
            None => self.0.insert(
                0,
                Segment {
                    kind: SegmentKind::Sequence,
                    numbers: Vec::from([asn]),
                },
            ),
        }
    }

    /// Returns whether a peer that knows only two octets needs AS4_PATH.
    pub(in super::super) fn needs_four_octets(&self) -> bool {
        let mut numbers = self.0.iter().flat_map(|segment| &segment.numbers);
        numbers.any(|asn| u16::try_from(asn.0).is_err())
    }

    /// Returns the value of the attribute. Segments without numbers, and numbers after the 255th of a segment, are left out.
    pub(in super::super) fn value(&self, four_octets: bool) -> Vec<u8> {
        let mut value = Vec::new();
        for segment in &self.0 {
            let numbers = &segment.numbers[..segment.numbers.len().min(255)];
            let (Ok(length), false) = (u8::try_from(numbers.len()), numbers.is_empty()) else {
                continue;
            };
            value.extend([segment.kind.code(), length]);
            for asn in numbers {
                if four_octets {
                    value.extend(asn.0.to_be_bytes());
                } else {
                    value.extend(asn.two_octets().to_be_bytes());
                }
            }
        }
        value
    }

    /// Parses the value of the attribute. RFC 7606 section 7.2: nothing if a segment is of an unknown kind, is cut short, or
    /// has no numbers.
    pub(in super::super) fn parse(value: &[u8], four_octets: bool) -> Option<Self> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while let Some(kind) = reader.u8() {
            let kind = SegmentKind::of(kind)?;
            let count = reader.u8().filter(|count| *count > 0)?;
            let number = |_| {
                if four_octets {
                    reader.u32().map(Asn)
                } else {
                    reader.u16().map(|asn| Asn(asn.into()))
                }
            };
            let numbers = (0..count).map(number).collect::<Option<Vec<_>>>()?;
            segments.push(Segment { kind, numbers });
        }
        Some(Self(segments))
    }

    /// Returns the whole path from this AS_PATH of two octets and the AS4_PATH beside it (RFC 6793 section 4.2.3).
    pub(in super::super) fn merge(self, four: Self) -> Self {
        // RFC 6793 section 4.2.3: an AS4_PATH that is longer is ignored.
        let Some(mut missing) = self.hops().checked_sub(four.hops()) else {
            return self;
        };
        let mut merged = Vec::new();
        for mut segment in self.0 {
            if missing == 0 {
                break;
            }
            match segment.kind {
                SegmentKind::Set => missing -= 1,
                SegmentKind::Sequence => {
                    segment.numbers.truncate(missing);
                    missing -= segment.numbers.len();
                }
                SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet => {}
            }
            merged.push(segment);
        }
        let mut four = four.0.into_iter();
        // What the old speakers added and what the others had before is one sequence.
        match (merged.last_mut(), four.next()) {
            (Some(last), Some(first)) if last.joins(&first) => last.numbers.extend(first.numbers),
            (_, first) => merged.extend(first),
        }
        merged.extend(four);
        Self(merged)
    }

    /// Returns the length as RFC 4271 section 9.1.2.2 and RFC 5065 section 5.3 count it: a set is one, a confederation none.
    fn hops(&self) -> usize {
        let hops = |segment: &Segment| match segment.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => segment.numbers.len(),
            SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet => 0,
        };
        self.0.iter().map(hops).sum()
    }
}
