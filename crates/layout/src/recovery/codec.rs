//! The one door to the crate that computes Reed–Solomon codes: always its high-rate form, which is a part of
//! the format (ADR 14).

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};
use reed_solomon_simd::{DecoderResult, EncoderResult, Error};

use super::geometry::Geometry;

/// The codes are computed on pieces of so many bytes; any multiple gives the same bytes.
const UNIT_BYTES: u64 = 64;

/// Why no code can be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(Error);

impl From<Error> for CodecError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// The length of the pieces of rows that fit `bytes` if there are `rows` of them: whole blocks, or an even
/// share of one.
pub(super) fn piece_bytes(geometry: &Geometry, rows: u64, bytes: u64) -> u64 {
    let (block, fits) = (geometry.block_bytes(), bytes / rows.max(1));
    if fits >= block {
        return (fits / block * block).min(geometry.row_bytes());
    }
    let power = fits.checked_ilog2().map_or(0, |log| 1_u64 << log);
    power.max(UNIT_BYTES)
}

/// Rows that the encoder works on.
pub(super) fn encoder_rows(geometry: &Geometry) -> u64 {
    geometry.rows().next_multiple_of(geometry.recovery_rows().next_power_of_two())
}

/// Rows that the decoder works on.
pub(super) fn decoder_rows(geometry: &Geometry) -> u64 {
    (geometry.rows() + geometry.recovery_rows().next_power_of_two()).next_power_of_two()
}

/// Makes recovery rows.
pub(super) struct Encoder {
    inner: HighRateEncoder<DefaultEngine>,
    geometry: Geometry,
}

impl Encoder {
    pub(super) fn new(geometry: Geometry, piece: usize) -> Result<Self, CodecError> {
        let (rows, recovery) = (count(geometry.rows()), count(geometry.recovery_rows()));
        let inner = HighRateEncoder::new(rows, recovery, piece, DefaultEngine::new(), None)?;
        Ok(Self { inner, geometry })
    }

    /// Forgets everything; pieces have this length from now on.
    pub(super) fn restart(&mut self, piece: usize) -> Result<(), CodecError> {
        let (rows, recovery) = (count(self.geometry.rows()), count(self.geometry.recovery_rows()));
        Ok(self.inner.reset(rows, recovery, piece)?)
    }

    /// Takes a piece of the next row.
    pub(super) fn row(&mut self, piece: &[u8]) -> Result<(), CodecError> {
        Ok(self.inner.add_original_shard(piece)?)
    }

    pub(super) fn encode(&mut self) -> Result<EncoderResult<'_>, CodecError> {
        Ok(self.inner.encode()?)
    }
}

/// Makes lost rows again.
pub(super) struct Decoder {
    inner: HighRateDecoder<DefaultEngine>,
}

impl Decoder {
    pub(super) fn new(geometry: Geometry, piece: usize) -> Result<Self, CodecError> {
        let (rows, recovery) = (count(geometry.rows()), count(geometry.recovery_rows()));
        Ok(Self { inner: HighRateDecoder::new(rows, recovery, piece, DefaultEngine::new(), None)? })
    }

    pub(super) fn row(&mut self, row: u64, piece: &[u8]) -> Result<(), CodecError> {
        Ok(self.inner.add_original_shard(count(row), piece)?)
    }

    pub(super) fn recovery_row(&mut self, row: u64, piece: &[u8]) -> Result<(), CodecError> {
        Ok(self.inner.add_recovery_shard(count(row), piece)?)
    }

    /// Gives the rows that were not given to it, and forgets everything once they are dropped.
    pub(super) fn decode(&mut self) -> Result<DecoderResult<'_>, CodecError> {
        Ok(self.inner.decode()?)
    }
}
