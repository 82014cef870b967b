//! How messages between nodes and machines become bytes.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Bytes that a call has room for before its first message. A node keeps it for as long
/// as the call, and thousands of machines each have one that lasts.
const ROOM: usize = 256;

/// Bytes of messages that are ready at once and go together.
const TOGETHER: usize = 32 << 10;

/// Encodes as [`ProstCodec`] does, with little room kept.
#[derive(Debug, Clone)]
pub struct Sparing<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Sparing<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Sparing<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(ROOM, TOGETHER))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::default().decoder()
    }
}
