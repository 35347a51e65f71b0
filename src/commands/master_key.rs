//! `keyward master-key new`

use vault::{Entropy, MasterKey};

use super::{Failure, failed};

/// Prints a fresh master key.
pub fn new() -> Result<(), Failure> {
    let key = MasterKey::generate(&Entropy::system()).map_err(failed)?;
    println!("{}", *key.to_file_text());
    Ok(())
}
