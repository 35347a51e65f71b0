//! Unambiguous bytes for associated data, derivation info and MACs.

/// A list of typed elements as bytes: two different lists never give the same bytes.
///
/// Each element is one tag byte, its length in bytes (64-bit big-endian) and the content. The first element is a
/// label that names the use, so that bytes made for one use mean nothing in another.
pub(crate) struct Framed(Vec<u8>);

impl Framed {
    /// Starts a list for the use that `label` names, for instance `keyward/sealed/v1`.
    pub(crate) fn new(label: &str) -> Framed {
        Framed(Vec::with_capacity(256)).text(label)
    }

    /// Adds a text.
    pub(crate) fn text(self, text: &str) -> Framed {
        self.element(b't', text.as_bytes())
    }

    /// Adds bytes.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Framed {
        self.element(b'b', bytes)
    }

    /// Adds a number.
    pub(crate) fn int(self, number: i64) -> Framed {
        self.element(b'i', &number.to_be_bytes())
    }

    /// Adds how many elements of a variable-length part follow.
    pub(crate) fn count(self, count: usize) -> Framed {
        self.element(b'n', &(count as u64).to_be_bytes())
    }

    /// The bytes of the list.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn element(mut self, tag: u8, content: &[u8]) -> Framed {
        self.0.push(tag);
        self.0.extend_from_slice(&(content.len() as u64).to_be_bytes());
        self.0.extend_from_slice(content);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_lists_give_different_bytes() {
        let lists = [
            Framed::new("l"),
            Framed::new("l").text(""),
            Framed::new("l").text("").text(""),
            Framed::new("l").text("ab").text("c"),
            Framed::new("l").text("a").text("bc"),
            Framed::new("l").bytes(b"a").text("bc"),
            Framed::new("l").text("\0\0\0\0\0\0\0\u{1}"),
            Framed::new("l").int(1),
            Framed::new("l").count(1),
            Framed::new("m").int(1),
        ];
        for (i, left) in lists.iter().enumerate() {
            for right in &lists[i + 1..] {
                assert_ne!(left.as_bytes(), right.as_bytes());
            }
        }
    }
}
