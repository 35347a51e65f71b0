//! Mail, handed to a mail server: one letter a connection, which is resolved, judged, opened and secured here.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use lettre::{
    Address, Message,
    message::{
        Mailbox,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, MailParameter},
    },
};
use tokio_rustls::rustls::ClientConfig;
use url::Url;
use zeroize::Zeroizing;

use super::{
    AddressPolicy, Egress, Target,
    smtp_line::{Line, Security},
};

/// How long a letter may take, from the name's resolution to the server's word that it has it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the farewell may take, once the server has the letter.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much of the server's own words is repeated, in characters.
const MAX_WORDS: usize = 300;
const URL_FORM: &str =
    "it must be smtps://HOST, with TLS from the start, or smtp://HOST, with STARTTLS; a port may follow";

/// Which mail server, and as whom.
#[derive(Debug)]
pub struct SmtpSettings {
    /// `smtps://HOST[:PORT]` or `smtp://HOST[:PORT]`, with `?tls=none` or `?tls=starttls`.
    pub url: String,
    /// What it is signed in to with, if at all.
    pub login: Option<SmtpLogin>,
    /// The mailbox that letters come from.
    pub from: String,
    /// The name this machine gives for its own; where there is none, its address.
    pub own_name: Option<String>,
    /// Whether the server may be at a private address.
    pub allow_private: bool,
}

/// What a mail server is signed in to with.
pub struct SmtpLogin {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for SmtpLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[login]")
    }
}

/// A mail server, ready to be handed letters.
pub struct Smtp {
    target: Target,
    security: Security,
    policy: AddressPolicy,
    tls: Arc<ClientConfig>,
    login: Option<SmtpLogin>,
    from: Mailbox,
    hello: ClientId,
}

/// A letter of plain text.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// What it is known by: the same where it is sent again.
    pub id: &'a str,
    /// When it was written, in milliseconds since 1970.
    pub written_at: i64,
    /// The address it goes to.
    pub to: &'a str,
    /// Its subject; control characters are left out of it.
    pub subject: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Why a letter was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct SmtpError {
    /// The code of the server's reply; 0 where there was none.
    pub status: u16,
    /// The server's words, or what failed.
    pub words: String,
    /// It will not be taken another time either.
    pub is_final: bool,
}

impl SmtpError {
    /// There was no reply, and there may be one another time.
    pub(super) fn broken(words: &str) -> SmtpError {
        SmtpError { status: 0, words: own_setting(words), is_final: false }
    }

    /// The server's refusal.
    pub(super) fn refused(status: u16, words: &str) -> SmtpError {
        let clean: String = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        SmtpError { status, words: clean.trim().to_owned(), is_final: false }
    }

    /// With as many of the words as are repeated.
    fn shortened(self) -> SmtpError {
        SmtpError { words: self.words.chars().take(MAX_WORDS).collect(), ..self }
    }
}

impl Smtp {
    /// Judges the settings; calls nobody yet. `egress` gives the TLS settings and its own listeners, which are never called.
    ///
    /// # Errors
    /// What is wrong, with the setting's name; never with what it holds.
    pub fn new(settings: SmtpSettings, egress: &Egress) -> Result<Smtp, String> {
        let SmtpSettings { url, login, from, own_name, allow_private } = settings;
        // A mail server beside Keyward is reached over loopback, whatever Keyward's own URL is.
        let policy = AddressPolicy { allow_private, allow_loopback: true, own: egress.policy().own.clone() };
        let (target, security) =
            parse(&url, &policy).map_err(|why| format!("KEYWARD_SMTP_URL: {}", own_setting(&why)))?;
        if login.is_some() && security == Security::Plain && !target.loopback_named {
            return Err(String::from(
                "KEYWARD_SMTP_PASSWORD: with tls=none in KEYWARD_SMTP_URL it would go over the line for all to read",
            ));
        }
        let from = from.parse().map_err(|_| {
            String::from("KEYWARD_SMTP_FROM: it must be a mailbox, for example Keyward <keyward@example.com>")
        })?;
        let mut tls = ClientConfig::clone(&egress.tls);
        // That is HTTP's.
        tls.alpn_protocols.clear();
        let hello = own_name.map_or_else(ClientId::default, ClientId::Domain);
        Ok(Smtp { target, security, policy, tls: Arc::new(tls), login, from, hello })
    }

    /// The server in words: its host and port.
    pub fn words(&self) -> &str {
        &self.target.authority
    }

    /// Hands a letter over; gives the code of the reply with which the server took it.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub async fn send(&self, letter: Letter<'_>) -> Result<u16, SmtpError> {
        let message = self.written(letter)?;
        match tokio::time::timeout(PATIENCE, self.hand_over(&message)).await {
            Ok(Ok((status, mut connection))) => {
                // The server has it, whatever becomes of the farewell.
                tokio::time::timeout(FAREWELL, connection.quit()).await.map(drop).unwrap_or_default();
                Ok(status)
            }
            Ok(Err(error)) => Err(self.without_password(error).shortened()),
            Err(_) => Err(SmtpError::broken(&format!("it did not take the letter within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Only what the server says of the recipient or of the letter is final: a greeting, a login or a sender that it refuses today
    /// is for whoever runs them to mend.
    async fn hand_over(&self, message: &Message) -> Result<(u16, AsyncSmtpConnection), SmtpError> {
        let line = Line::open(&self.target, self.security, &self.policy, &self.tls, &self.hello).await?;
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(Box::new(line), &self.hello).await.map_err(told)?;
        if let Some(SmtpLogin { user, password }) = &self.login {
            let credentials = Credentials::new(user.clone(), password.to_string());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(told)?;
        }
        let envelope = message.envelope();
        let mut addresses = envelope.to().iter().chain(envelope.from());
        let parameters = match addresses.all(|address| address.to_string().is_ascii()) {
            true => Vec::new(),
            false => vec![MailParameter::SmtpUtfEight],
        };
        connection.command(Mail::new(envelope.from().cloned(), parameters)).await.map_err(told)?;
        for to in envelope.to() {
            connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(told_of_letter)?;
        }
        connection.command(Data).await.map_err(told)?;
        let taken = connection.message(&message.formatted()).await.map_err(told_of_letter)?;
        Ok((u16::from(taken.code()), connection))
    }

    /// The letter as it goes over the line: header lines and text are encoded so that nothing in them ends a line.
    fn written(&self, letter: Letter<'_>) -> Result<Message, SmtpError> {
        let to = letter.to.parse::<Address>().map_err(|_| unwritable("the address is none that mail goes to"))?;
        let millis = u64::try_from(letter.written_at).unwrap_or_default();
        let subject: String = letter.subject.chars().filter(|letter| !letter.is_control()).collect();
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.to_owned())
            .map_err(|error| unwritable(&error.to_string()))
    }

    /// A reply that repeats the login is not repeated.
    fn without_password(&self, error: SmtpError) -> SmtpError {
        let Some(SmtpLogin { user, password }) = &self.login else { return error };
        let plain = Zeroizing::new(format!("\0{user}\0{}", password.as_str()));
        let forms = [STANDARD.encode(plain.as_bytes()), STANDARD.encode(password.as_bytes())].map(Zeroizing::new);
        match forms.iter().chain([password]).any(|form| error.words.contains(form.as_str())) {
            true => SmtpError { words: String::from("its reply holds the password, and is left out"), ..error },
            false => error,
        }
    }
}

/// Reads the URL of a mail server.
fn parse(text: &str, policy: &AddressPolicy) -> Result<(Target, Security), String> {
    let form = || URL_FORM.to_owned();
    let url = Url::parse(text).map_err(|_| form())?;
    let (port, mut security) = match url.scheme() {
        "smtps" => (465, Some(Security::Tls)),
        "smtp" => (587, None),
        _ => return Err(form()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(String::from("user and password go into KEYWARD_SMTP_USER and KEYWARD_SMTP_PASSWORD"));
    }
    match (security, url.query()) {
        (_, None) => {}
        (None, Some("tls=none")) => security = Some(Security::Plain),
        (None, Some("tls=starttls")) => security = Some(Security::StartTls),
        _ => return Err(String::from("behind the ? may stand tls=none or tls=starttls, with smtp:// alone")),
    }
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err(form());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(form)?;
    // The rules are those for every other address. A port has to be told: 443 would be left out.
    let port = url.port().unwrap_or(port);
    let target =
        Target::parse_service(&format!("https://{host}:{port}"), "", policy).map_err(|error| error.to_string())?;
    let unsaid = if target.loopback_named { Security::Plain } else { Security::StartTls };
    Ok((target, security.unwrap_or(unsaid)))
}

/// Names the setting that is this service's, where the rules for addresses name the one for providers.
fn own_setting(text: &str) -> String {
    text.replace("KEYWARD_ALLOW_PRIVATE_UPSTREAMS", "KEYWARD_SMTP_ALLOW_PRIVATE")
}

fn unwritable(why: &str) -> SmtpError {
    SmtpError { status: 0, words: why.to_owned(), is_final: true }
}

/// What the client has to say about a failure.
fn told(error: lettre::transport::smtp::Error) -> SmtpError {
    let words = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    match error.status() {
        Some(code) => SmtpError::refused(u16::from(code), &words),
        None => SmtpError::broken(&words),
    }
}

/// The same of the recipient or the letter: 5xx is final.
fn told_of_letter(error: lettre::transport::smtp::Error) -> SmtpError {
    let error = told(error);
    SmtpError { is_final: error.status >= 500, ..error }
}

/// Says that nobody sat and wrote this, so that no machine answers it.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), String::from("auto-generated"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::Patience;

    fn smtp(url: &str, login: Option<(&str, &str)>) -> Result<Smtp, String> {
        let policy = AddressPolicy { allow_private: false, allow_loopback: false, own: Vec::new() };
        let second = Duration::from_secs(1);
        let egress = Egress::new(policy, Patience { connect: second, head: second, idle: second, total: None });
        let login = login
            .map(|(user, password)| SmtpLogin { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) });
        let from = String::from("Keyward <keyward@example.com>");
        Smtp::new(SmtpSettings { url: url.to_owned(), login, from, own_name: None, allow_private: false }, &egress)
    }

    #[test]
    fn a_url_says_where_and_how() {
        let read = |url: &str| {
            let smtp = smtp(url, None).unwrap_or_else(|why| panic!("{url}: {why}"));
            (smtp.target.host, smtp.target.port, smtp.security)
        };
        let host = || String::from("mail.example.com");
        assert_eq!(read("smtps://mail.example.com"), (host(), 465, Security::Tls));
        assert_eq!(read("smtps://mail.example.com:443"), (host(), 443, Security::Tls));
        assert_eq!(read("smtp://mail.example.com"), (host(), 587, Security::StartTls));
        assert_eq!(read("smtp://mail.example.com:25?tls=none"), (host(), 25, Security::Plain));
        assert_eq!(read("smtp://localhost:25").2, Security::Plain);
        assert_eq!(read("smtp://127.0.0.1:25?tls=starttls").2, Security::StartTls);
        for bad in [
            "mail.example.com",
            "https://mail.example.com",
            "smtp://",
            "smtp://mail.example.com/inbox",
            "smtp://mail.example.com?tls=maybe",
            "smtps://mail.example.com?tls=none",
            "smtp://me:secret@mail.example.com",
            "smtp://169.254.169.254",
            "smtp://0xa9fea9fe",
            "smtp://metadata.google.internal",
            "smtp://mail.example.com.",
        ] {
            let why = smtp(bad, None).err().unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(why.starts_with("KEYWARD_SMTP_URL: ") && !why.contains("secret"), "{why}");
        }
        let why = smtp("smtp://10.0.0.1", None).err().expect("a private address");
        assert!(why.contains("KEYWARD_SMTP_ALLOW_PRIVATE"), "{why}");
        assert!(smtp("smtp://mail.example.com?tls=none", Some(("me", "secret"))).is_err());
    }

    #[test]
    fn no_text_becomes_a_header() {
        let smtp = smtp("smtps://mail.example.com", None).expect("a server");
        let letter = Letter {
            id: "wd_1",
            written_at: 1_700_000_000_000,
            to: "ada@example.com",
            subject: "The key \"Schlüssel\r\nBcc: eve@example.com\u{2028}\" ends",
            text: "Ein Schlüssel.\r\n.\r\nQUIT\r\n",
        };
        let written = String::from_utf8(smtp.written(letter).expect("a letter").formatted()).expect("ASCII");
        assert!(written.is_ascii());
        let (head, _) = written.split_once("\r\n\r\n").expect("a head");
        let names: Vec<_> =
            head.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(':').next()).collect();
        assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("bcc")), "{head}");
        assert!(
            head.contains("Message-ID: <wd_1@example.com>") && head.contains("Auto-Submitted: auto-generated"),
            "{head}"
        );
        assert!(smtp.written(Letter { to: "ada@example.com>\r\nRCPT TO:<eve@example.com", ..letter }).is_err());
    }

    #[test]
    fn a_refusal_never_holds_the_password() {
        let smtp = smtp("smtps://mail.example.com", Some(("me", "a-password"))).expect("a server");
        assert_eq!(SmtpError::refused(451, "not\r\nnow").words, "not  now");
        let at_the_end = format!("{}a-password is wrong", " ".repeat(MAX_WORDS - 5));
        for words in
            ["535 a-password is wrong", "AG1lAGEtcGFzc3dvcmQ= is wrong", "YS1wYXNzd29yZA== is wrong", &at_the_end]
        {
            let error = smtp.without_password(SmtpError::refused(535, words));
            assert!(!error.words.contains("wrong"), "{error:?}");
        }
        assert_eq!(smtp.without_password(SmtpError::refused(535, "wrong")).words, "wrong");
        assert!(!format!("{:?}", smtp.login).contains("a-password"));
    }
}
