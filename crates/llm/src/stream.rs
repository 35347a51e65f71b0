//! Watches a streamed answer pass: counts its usage, and leaves out the chunk that only we asked for.

use crate::glance::glance;
use crate::sse::{EventSplitter, data};
use crate::usage::Tally;
use crate::{Usage, WireFormat};

/// What to send on of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The chunk itself.
    Whole,
    /// What was written to `out`, which may be nothing.
    Replaced,
}

/// Reads a stream as it passes.
///
/// It holds bytes back only where it has to leave a chunk out, and then no more than the event that is not complete;
/// and it never keeps more than [`MAX_TAIL`](crate::MAX_TAIL) and the chunk at hand.
#[derive(Debug)]
pub struct StreamReader {
    splitter: EventSplitter,
    tally: Tally,
    filtering: bool,
}

impl StreamReader {
    /// A reader at the start of a stream.
    ///
    /// `drop_usage_chunk`: leave out the OpenAI chunk whose `choices` is empty and which carries the usage, for the
    /// caller had not asked for it.
    pub fn new(wire: WireFormat, drop_usage_chunk: bool) -> Self {
        StreamReader { splitter: EventSplitter::new(), tally: Tally::new(wire), filtering: drop_usage_chunk }
    }

    /// Takes the next chunk and says what to send on. `out` is the caller's to reuse; what it held is cleared.
    ///
    /// Where an event grows past the bound while chunks may have to be left out, that filtering ends, and everything
    /// from there on passes.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Pass {
        out.clear();
        let StreamReader { splitter, tally, filtering } = self;
        let filters = *filtering;
        let mut changed = filters && !splitter.held().is_empty();
        let given_up = splitter.push(chunk, |event| {
            let is_usage_chunk = read(tally, event);
            if filters && is_usage_chunk {
                changed = true;
            } else if filters {
                out.extend_from_slice(event);
            }
        });
        if let Some(bytes) = given_up {
            tally.lose();
            tally.event(glance_text(&bytes), []);
            if filters {
                out.extend_from_slice(&bytes);
                *filtering = false;
            }
        }
        if !filters || (!changed && out.len() == chunk.len()) {
            return Pass::Whole;
        }
        Pass::Replaced
    }

    /// Ends the stream: what was held back, to be sent on still.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = self.splitter.take_held();
        let is_usage_chunk = !held.is_empty() && read(&mut self.tally, &held);
        match self.filtering && !is_usage_chunk {
            true => held,
            false => Vec::new(),
        }
    }

    /// The usage so far. Before the provider has told its final count, output is estimated from the text that passed,
    /// at four bytes a token; input that was never told is left at zero.
    pub fn usage(&self) -> Usage {
        self.tally.usage()
    }
}

/// Counts an event in; whether it is the chunk that only carries usage.
fn read(tally: &mut Tally, event: &[u8]) -> bool {
    let glance = glance(event);
    match glance.usage {
        true => tally.event(glance, data(event)),
        false => tally.event(glance, []),
    }
}

/// Of an event that is too long, only the text that did come.
fn glance_text(bytes: &[u8]) -> crate::glance::Glance {
    crate::glance::Glance { usage: false, ..glance(bytes) }
}

#[cfg(test)]
mod tests;
