//! A strict JSON validator that builds nothing: a cursor over bytes that are known to be UTF-8.

/// How deep arrays and objects may nest, the outermost counted.
pub(crate) const MAX_DEPTH: usize = 512;

/// Why a text is not JSON that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The byte at which no JSON text can go on as this one does.
    Invalid(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// A position in a JSON text.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn fault(&self) -> Fault {
        Fault::Invalid(self.at)
    }

    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes this byte, or fails.
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        match self.eat(byte) {
            true => Ok(()),
            false => Err(self.fault()),
        }
    }

    /// Passes this byte if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes a string; gives what stands between the quotes, and whether it has escapes.
    pub(crate) fn string(&mut self) -> Result<(&'a str, bool), Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_until(self.text.as_bytes(), self.at);
            match self.peek() {
                Some(b'"') => {
                    let inside = &self.text[start..self.at];
                    self.at += 1;
                    return Ok((inside, escaped));
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.fault()),
            }
            escaped = true;
        }
    }

    /// Passes `"key" :` and the space around it.
    pub(crate) fn key(&mut self) -> Result<(&'a str, bool), Fault> {
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(key)
    }

    /// Passes one value, which stands within `depth` others. Iterative: no input can exhaust the stack.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'{' | b'[')) {
            return self.scalar();
        }
        let mut nest = Nest::within(depth);
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    nest.open(open == b'{')?;
                    self.at += 1;
                    self.space();
                    if !self.eat(nest.closing()) {
                        if nest.in_object() {
                            self.key()?;
                        }
                        continue;
                    }
                    nest.close();
                }
                _ => self.scalar()?,
            }
            // A value is complete: close what ends here, or go on to the next one beside it.
            loop {
                if nest.is_done() {
                    return Ok(());
                }
                self.space();
                if self.eat(b',') {
                    self.space();
                    if nest.in_object() {
                        self.key()?;
                    }
                    break;
                }
                self.expect(nest.closing())?;
                nest.close();
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.fault()),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        match self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            true => self.at += word.len(),
            false => return Err(self.fault()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(()),
            false => Err(self.fault()),
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(digit) if digit.is_ascii_hexdigit() => self.at += 1,
                        _ => return Err(self.fault()),
                    }
                }
            }
            _ => return Err(self.fault()),
        }
        Ok(())
    }
}

/// What a validated string's inside means; `None` where half of a surrogate pair stands alone.
pub(crate) fn unescape(inside: &str) -> Option<String> {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(slash) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..slash]);
        let letter = *rest.as_bytes().get(slash + 1)?;
        let mut end = slash + 2;
        text.push(match letter {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = hex4(rest, end)?;
                end += 4;
                let mut code = high;
                if (0xd800..0xdc00).contains(&high) && rest.as_bytes().get(end..end + 2) == Some(b"\\u") {
                    let low = hex4(rest, end + 2).filter(|low| (0xdc00..0xe000).contains(low))?;
                    code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    end += 6;
                }
                char::from_u32(code)?
            }
            other => char::from(other),
        });
        rest = &rest[end..];
    }
    text.push_str(rest);
    Some(text)
}

/// Appends a JSON string of this text, quotes included.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            ..0x20 => {
                out.extend(b"\\u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn hex4(text: &str, at: usize) -> Option<u32> {
    u32::from_str_radix(text.get(at..at + 4)?, 16).ok()
}

/// The first byte from `at` on that may not stand plainly in a string: a quote, a backslash, a control character.
///
/// Eight at a time. Each of the three tests may err only above a byte that it rightly marked, so the lowest mark is
/// always right.
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & TOPS;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let slash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let marks = quote | slash | below(word, 0x20);
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(0x20..=0x21 | 0x23..=0x5b | 0x5d..) = bytes.get(at) {
        at += 1;
    }
    at
}

/// The containers that are open, one bit each: set for an object.
struct Nest {
    bits: [u64; MAX_DEPTH / 64],
    from: usize,
    depth: usize,
}

impl Nest {
    fn within(depth: usize) -> Self {
        Nest { bits: [0; MAX_DEPTH / 64], from: depth, depth }
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        let word = self.bits.get_mut(self.depth / 64).ok_or(Fault::TooDeep)?;
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
    }

    fn is_done(&self) -> bool {
        self.depth == self.from
    }

    fn in_object(&self) -> bool {
        let top = self.depth - 1;
        self.bits[top / 64] >> (top % 64) & 1 == 1
    }

    fn closing(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }
}
