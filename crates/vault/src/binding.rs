//! Where a general key may be sent.

use crate::framing::Framed;

/// The origin and header a general key was saved for. No secret: it is stored beside the sealed value, and it is part
/// of the value's associated data, so that changing it makes the value unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    origin: String,
    path_prefix: String,
    header: String,
    prefix: &'static str,
    canonical: String,
}

impl Binding {
    /// Makes one of parts that the caller has already normalised.
    ///
    /// * `origin`: `scheme://host:port`, host in lower-case A-label form, port always there;
    /// * `path_prefix`: of the base URL for the kinds without one public address, `""` for the others;
    /// * `header`: the provider's native header in lower case, for instance `authorization` or `x-api-key`, or the one a service takes;
    /// * `prefix`: what stands before the value there, `"Bearer "` or `""`.
    ///
    /// A provider that takes the same key in a second header on another path (anthropic, gemini) still has one
    /// binding, that of its native header.
    pub fn new(origin: &str, path_prefix: &str, header: &str, prefix: &'static str) -> Binding {
        let mut canonical = format!("{origin}{path_prefix} {header}");
        if !prefix.is_empty() {
            canonical.push(' ');
            canonical.push_str(prefix.trim_end());
        }
        Binding {
            origin: origin.to_owned(),
            path_prefix: path_prefix.to_owned(),
            header: header.to_owned(),
            prefix,
            canonical,
        }
    }

    /// Reads what [`Binding::canonical`] gave. `None` for anything else.
    pub fn parse(canonical: &str) -> Option<Binding> {
        let mut words = canonical.split(' ');
        let (place, header, prefix) = (words.next()?, words.next()?, words.next());
        let start = place.find("://")? + 3;
        let (origin, path) = place.split_at(place[start..].find('/').map_or(place.len(), |at| start + at));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if header.is_empty() || !header.bytes().all(is_name) {
            return None;
        }
        let prefix = match prefix {
            None => "",
            Some("Bearer") => "Bearer ",
            Some(_) => return None,
        };
        Some(Binding::new(origin, path, header, prefix)).filter(|binding| binding.canonical == canonical)
    }

    /// One line for a column, for instance `https://api.openai.com:443 authorization Bearer`.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// `scheme://host:port`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The native header's name.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// What stands before the value in the native header.
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Adds the binding to associated data, part by part, so that no two bindings give the same bytes.
    pub(crate) fn frame(&self, framed: Framed) -> Framed {
        framed.text(&self.canonical).text(&self.origin).text(&self.path_prefix).text(&self.header).text(self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_line_is_read_as_it_was_written() {
        for (origin, path, header, prefix) in [
            ("https://api.openai.com:443", "", "authorization", "Bearer "),
            ("http://[::1]:8080", "/v1", "authorization", "Bearer "),
            ("https://api.anthropic.com:443", "", "x-api-key", ""),
            ("https://a.example:443", "/tenant/one", "api-key", ""),
            ("https://g.example:443", "", "x-goog-api-key", ""),
            ("https://s.example:443", "/mcp", "x-service-token", ""),
        ] {
            let binding = Binding::new(origin, path, header, prefix);
            assert_eq!(Binding::parse(binding.canonical()), Some(binding));
        }
        for wrong in [
            "",
            "https://a:443",
            "https://a:443 X-Key",
            "https://a:443  x",
            "a authorization Bearer",
            "https://a:443 api-key x y",
        ] {
            assert_eq!(Binding::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn canonical_names_origin_path_and_native_header() {
        let openai = Binding::new("https://api.openai.com:443", "", "authorization", "Bearer ");
        assert_eq!(openai.canonical(), "https://api.openai.com:443 authorization Bearer");
        let azure = Binding::new("https://x.openai.azure.com:443", "/eu", "api-key", "");
        assert_eq!(azure.canonical(), "https://x.openai.azure.com:443/eu api-key");
        assert_eq!((azure.origin(), azure.header(), azure.prefix()), ("https://x.openai.azure.com:443", "api-key", ""));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let left = Binding::new("https://a:44", "3", "api-key", "");
        let right = Binding::new("https://a:443", "", "api-key", "");
        assert_ne!(left, right);
        let bytes = |b: &Binding| b.frame(Framed::new("t")).as_bytes().to_vec();
        assert_ne!(bytes(&left), bytes(&right));
    }
}
