//! Where usage stands in the documents of all wire formats; whatever has another type than expected counts as absent.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An answer, or the data of an event: only what usage is read from.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Document {
    pub(super) usage: Maybe<Counts>,
    /// Cohere v1.
    meta: Maybe<Counts>,
    /// The Responses API's last event.
    response: Maybe<Around>,
    /// Anthropic's first event.
    message: Maybe<Around>,
    /// Cohere v2's last event.
    delta: Maybe<Around>,
    /// Groq's last chunk with choices, whether usage was asked for or not.
    x_groq: Maybe<Around>,
    #[serde(rename = "usageMetadata")]
    pub(super) usage_metadata: Maybe<GeminiCounts>,
    pub(super) choices: Items,
    /// Ollama.
    pub(super) prompt_eval_count: Count,
    /// Ollama.
    pub(super) eval_count: Count,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Around {
    usage: Maybe<Counts>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) prompt_tokens: Count,
    pub(super) completion_tokens: Count,
    pub(super) input_tokens: Count,
    pub(super) output_tokens: Count,
    pub(super) cache_creation_input_tokens: Count,
    pub(super) cache_read_input_tokens: Count,
    total_tokens: Count,
    completion_tokens_details: Maybe<Details>,
    tokens: Maybe<Pair>,
    billed_units: Maybe<Pair>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    pub(super) input_tokens: Count,
    pub(super) output_tokens: Count,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Details {
    reasoning_tokens: Count,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GeminiCounts {
    pub(super) prompt_token_count: Count,
    pub(super) tool_use_prompt_token_count: Count,
    pub(super) candidates_token_count: Count,
    pub(super) thoughts_token_count: Count,
}

impl Document {
    /// The usage, in whichever of its places it stands.
    pub(super) fn counts(&self) -> Option<&Counts> {
        let around = [&self.response, &self.message, &self.delta, &self.x_groq];
        let inner = around.into_iter().filter_map(Maybe::get).find_map(|around| around.usage.get());
        self.usage.get().or(inner).or(self.meta.get())
    }
}

impl Counts {
    /// Cohere's pair of counts.
    pub(super) fn nested(&self) -> Option<&Pair> {
        self.tokens.get().or(self.billed_units.get())
    }

    /// Reasoning that stands beside `completion_tokens` and not within: xAI tells it so, and only the total shows it.
    pub(super) fn reasoning_apart(&self) -> u64 {
        let reasoning = self.completion_tokens_details.get().map_or(Count::Absent, |details| details.reasoning_tokens);
        match (self.prompt_tokens, self.completion_tokens, reasoning, self.total_tokens) {
            (Count::Told(prompt), Count::Told(completion), Count::Told(reasoning), Count::Told(total))
                if prompt + completion + reasoning == total =>
            {
                reasoning
            }
            _ => 0,
        }
    }
}

/// A number of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Count {
    #[default]
    Absent,
    Told(u64),
    /// Negative, fractional, above 2^32 or no number: more tokens than any call can have, and few enough that no sum of
    /// such numbers runs over.
    Absurd,
}

/// The most tokens that are believed.
const MOST: u64 = 1 << 32;

/// An object, or something else that is then taken for nothing.
pub(super) struct Maybe<T>(Option<T>);

/// An array, of which only the length matters.
#[derive(Default)]
pub(super) struct Items(Option<usize>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

impl<T> Maybe<T> {
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

impl Items {
    /// Whether it is there, and has nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0 == Some(0)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

/// What to make of each JSON type; without more, nothing.
trait FromAny<'de>: Sized {
    fn other() -> Self;

    fn null() -> Self {
        Self::other()
    }

    fn number(_: f64) -> Self {
        Self::other()
    }

    fn items(_: usize) -> Self {
        Self::other()
    }

    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::other())
    }
}

impl FromAny<'_> for Count {
    fn other() -> Self {
        Count::Absurd
    }

    fn null() -> Self {
        Count::Absent
    }

    /// Every whole number up to 2^32 is one f64 and no other, so nothing is lost on the way.
    fn number(number: f64) -> Self {
        match (0.0..=MOST as f64).contains(&number) && number.fract() == 0.0 {
            true => Count::Told(number as u64),
            false => Count::Absurd,
        }
    }
}

impl<'de, T: Deserialize<'de>> FromAny<'de> for Maybe<T> {
    fn other() -> Self {
        Maybe(None)
    }

    fn object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Maybe(Some(value)))
    }
}

impl FromAny<'_> for Items {
    fn other() -> Self {
        Items(None)
    }

    fn items(length: usize) -> Self {
        Items(Some(length))
    }
}

struct Lenient<T>(PhantomData<T>);

impl<'de, T: FromAny<'de>> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(if number > MOST { T::other() } else { T::number(number as f64) })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Ok(T::number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Ok(T::number(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        let mut length = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok(T::items(length))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::object(map)
    }
}
