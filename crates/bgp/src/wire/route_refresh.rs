//! ROUTE-REFRESH (RFC 2918 section 3, RFC 7313 section 3.2).

use alloc::vec::Vec;

use super::capability::AfiSafi;
use super::error::RefreshError;
use super::header::{self, MessageType};

/// What a ROUTE-REFRESH says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefreshSubtype {
    /// Asks for all routes.
    Request,
    /// BoRR: the answer begins.
    Begin,
    /// EoRR: the answer is whole.
    End,
    /// A subtype to be ignored (RFC 7313 section 5).
    Other(u8),
}

impl RefreshSubtype {
    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Request,
            1 => Self::Begin,
            2 => Self::End,
            other => Self::Other(other),
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Other(code) => code,
        }
    }
}

/// A ROUTE-REFRESH for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family.
    pub family: AfiSafi,
    /// What it says.
    pub subtype: RefreshSubtype,
}

impl RouteRefresh {
    pub(super) fn parse(body: &[u8]) -> Result<Self, RefreshError> {
        let [high, low, subtype, safi] = *body else {
            return Err(RefreshError { body: body.to_vec() });
        };
        let afi = u16::from_be_bytes([high, low]);
        Ok(Self {
            family: AfiSafi { afi, safi },
            subtype: RefreshSubtype::of(subtype),
        })
    }

    /// Appends the message.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = header::begin(out, MessageType::RouteRefresh);
        let [high, low] = self.family.afi.to_be_bytes();
        out.extend([high, low, self.subtype.code(), self.family.safi]);
        header::end_fixed(out, start);
    }
}
