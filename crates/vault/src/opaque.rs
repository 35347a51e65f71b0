//! `Debug` for types whose content nobody may print.

/// Implements `Debug` as `[TypeName]`, so that a secret can stand in a larger type that derives `Debug`.
macro_rules! opaque_debug {
    ($($name:ident),+ $(,)?) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!("[", stringify!($name), "]"))
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use crate::{
        AgentSecret, Binding, Entropy, Keyring, MasterKey, OneTimeToken, Place, ProviderSecret, ProviderValue,
        PurposeKey, RecoveryCode, Token, TokenKind, TotpSecret, WebhookSecret,
    };
    use std::fmt::{Debug, Display};

    /// Fails to compile where the type implements the trait: the call would be ambiguous.
    macro_rules! assert_lacks {
        ($type:ty: $($bound:path),+) => {$({
            trait Ambiguous<A> { fn check() {} }
            impl<T: ?Sized> Ambiguous<()> for T {}
            #[allow(dead_code, reason = "only its existence matters")]
            struct Has;
            impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
            <$type as Ambiguous<_>>::check();
        })+};
    }

    #[test]
    fn secrets_are_neither_clone_nor_comparable_nor_printable() {
        assert_lacks!(PurposeKey: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(MasterKey: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(ProviderValue: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(ProviderSecret: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(AgentSecret: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(OneTimeToken: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(TotpSecret: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(WebhookSecret: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(RecoveryCode: Clone, PartialEq, Display, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(Keyring: Clone, PartialEq, Display);
    }

    #[test]
    fn keyring_and_secrets_cross_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Keyring>();
        shared::<ProviderSecret>();
        shared::<MasterKey>();
        shared::<Entropy>();
    }

    #[test]
    fn debug_shows_the_type_and_nothing_else() {
        fn shows(value: &dyn Debug, expected: &str) {
            assert_eq!(format!("{value:?}"), expected);
            assert_eq!(format!("{value:#?}"), expected);
        }
        let entropy = Entropy::seeded(1);
        let master = MasterKey::generate(&entropy).unwrap();
        let keyring = Keyring::unwrapped("in_1", &entropy);
        let value = ProviderValue::parse("sk-canary-0123456789".to_owned()).unwrap();
        let binding = Binding::new("https://a.example:443", "", "authorization", "Bearer ");
        let place = Place { table: "t", row: "r", field: "f", version: 1 };
        let sealed = keyring.seal(&entropy, &place, Some(&binding), &value).unwrap();
        let secret = keyring.open_bound(&place, &binding, &sealed).unwrap();
        let agent = AgentSecret::mint(TokenKind::Agent, &entropy).unwrap();
        shows(&entropy, "[Entropy]");
        shows(&master, "[MasterKey]");
        shows(&PurposeKey::generate(&entropy).unwrap(), "[PurposeKey]");
        shows(&keyring, "[Keyring]");
        shows(&value, "[ProviderValue]");
        shows(&secret, "[ProviderSecret]");
        shows(&agent.token(), "[Token]");
        shows(&agent, "[AgentSecret]");
        shows(&OneTimeToken::mint(&entropy).unwrap(), "[OneTimeToken]");
        assert_lacks!(Token: Display);
    }
}
