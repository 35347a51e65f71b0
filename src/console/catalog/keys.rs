//! The general keys of a provider or a model in its form: the first one, and behind it further ones with weights.

use std::collections::BTreeMap;

use store::general_keys::GeneralKey;

use crate::{
    console::{forms::Refused, parts::KeyChoice},
    domain::{
        key_set::MAX_KEYS,
        links::{self, KeyShare},
    },
};

/// How many empty rows stand ready for further keys at least.
const ROWS: usize = 3;

/// What was typed into fields whose names are numbered.
pub type Typed = BTreeMap<String, String>;

/// The pickers of a form.
#[derive(Clone, Debug, Default)]
pub struct KeyRows {
    /// For the first key.
    pub first: Vec<KeyChoice>,
    /// The first key's weight, as typed.
    pub weight: String,
    /// For further keys.
    pub further: Vec<KeyRow>,
    /// The part with further keys is unfolded.
    pub is_open: bool,
    /// Why the keys were refused together.
    pub error: Option<String>,
}

/// One further key.
#[derive(Clone, Debug, Default)]
pub struct KeyRow {
    /// Its place, from 2.
    pub number: usize,
    /// Its picker.
    pub choices: Vec<KeyChoice>,
    /// Its weight, as typed.
    pub weight: String,
}

impl KeyRows {
    /// The pickers with what was typed, as of `now`.
    pub fn new(typed: &Typed, keys: &[GeneralKey], refused: &mut Refused, now: i64) -> KeyRows {
        let last = (1..=MAX_KEYS).rev().find(|at| !id_of(typed, *at).is_empty()).unwrap_or(1);
        let error = refused.take("general_keys");
        let row = |number| KeyRow {
            number,
            choices: KeyChoice::of(keys, id_of(typed, number), now),
            weight: weight_of(typed, number).to_owned(),
        };
        KeyRows {
            first: KeyChoice::of(keys, id_of(typed, 1), now),
            weight: weight_of(typed, 1).to_owned(),
            further: (2..=MAX_KEYS.min(last.max(ROWS) + 1)).map(row).collect(),
            is_open: last > 1 || error.is_some(),
            error,
        }
    }
}

/// What a form holds where these keys are linked.
pub fn typed(linked: &[KeyShare]) -> Typed {
    let mut typed = Typed::new();
    for (at, share) in (1..).zip(linked) {
        typed.insert(id_name(at), share.general_key_id.clone());
        let weight = if linked.len() == 1 { String::new() } else { share.weight.to_string() };
        typed.insert(weight_name(at), weight);
    }
    typed
}

/// The keys that were chosen.
///
/// # Errors
/// What to tell on the form.
pub fn chosen(typed: &Typed) -> Result<Vec<KeyShare>, Refused> {
    let mut shares: Vec<KeyShare> = Vec::new();
    for at in (1..=MAX_KEYS).filter(|at| !id_of(typed, *at).is_empty()) {
        let general_key_id = id_of(typed, at).to_owned();
        if shares.iter().any(|share| share.general_key_id == general_key_id) {
            let why = "One key stands in two rows. Choose it once, and give it the weight you mean.";
            return Err(Refused::field("general_keys", why));
        }
        let weight = match weight_of(typed, at).trim() {
            "" => 1,
            text => match text.parse() {
                Ok(weight) => weight,
                Err(_) => return Err(Refused::field("general_keys", "Weights are whole numbers from 1 to 100.")),
            },
        };
        shares.push(KeyShare { general_key_id, weight });
    }
    Ok(shares)
}

/// The keys that were chosen, where they differ from those that are linked.
///
/// # Errors
/// What to tell on the form.
pub fn changed(typed: &Typed, linked: &[KeyShare]) -> Result<Option<Vec<KeyShare>>, Refused> {
    let chosen = chosen(typed)?;
    Ok((links::canonical(&chosen) != links::canonical(linked)).then_some(chosen))
}

/// The first key that was chosen; empty where there is none.
pub fn first(typed: &Typed) -> &str {
    id_of(typed, 1)
}

/// Keys as words, for a comparison: 'A', or 'A (weight 1), B (weight 3)'.
pub fn words(typed: &Typed, keys: &[GeneralKey]) -> String {
    let name_of = |id: &str| keys.iter().find(|key| key.id == id).map_or_else(|| id.to_owned(), |key| key.name.clone());
    let places: Vec<_> = (1..=MAX_KEYS).filter(|at| !id_of(typed, *at).is_empty()).collect();
    let word = |at: usize| match (name_of(id_of(typed, at)), weight_of(typed, at)) {
        (name, "") if places.len() > 1 => format!("{name} (weight 1)"),
        (name, weight) if places.len() > 1 => format!("{name} (weight {weight})"),
        (name, _) => name,
    };
    places.iter().map(|at| word(*at)).collect::<Vec<_>>().join(", ")
}

/// Whether a field is one of those here; a form is answered with no other that somebody sent.
pub fn is_ours(name: &str) -> bool {
    (1..=MAX_KEYS).any(|at| name == id_name(at) || name == weight_name(at))
}

fn id_of(typed: &Typed, at: usize) -> &str {
    typed.get(&id_name(at)).map_or("", String::as_str)
}

fn weight_of(typed: &Typed, at: usize) -> &str {
    typed.get(&weight_name(at)).map_or("", String::as_str)
}

fn id_name(at: usize) -> String {
    if at == 1 { String::from("general_key_id") } else { format!("general_key_id_{at}") }
}

fn weight_name(at: usize) -> String {
    if at == 1 { String::from("weight") } else { format!("weight_{at}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_comes_back_and_gaps_and_twins_are_noticed() {
        let share = |id: &str, weight| KeyShare { general_key_id: id.to_owned(), weight };
        let linked = [share("gk_a", 3), share("gk_b", 1)];
        let mut form = typed(&linked);
        assert_eq!(chosen(&form).ok().as_deref(), Some(&linked[..]));
        assert!(matches!(changed(&form, &linked), Ok(None)));
        form.insert(String::from("general_key_id"), String::new());
        assert_eq!(chosen(&form).ok(), Some(vec![share("gk_b", 1)]));
        form.insert(String::from("general_key_id_5"), String::from("gk_b"));
        assert!(chosen(&form).is_err());
        form.insert(String::from("general_key_id_5"), String::from("gk_c"));
        form.insert(String::from("weight_5"), String::from("much"));
        assert!(chosen(&form).is_err());
        assert_eq!(typed(&[share("gk_a", 1)])["weight"], "");
    }
}
