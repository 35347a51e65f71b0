//! The issuer that members can sign in with: OpenID Connect's authorization code flow, with PKCE, state and nonce.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use openidconnect::{
    AdditionalClaims, AsyncHttpClient, AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError,
    Client, ClientId, ClientSecret, CodeTokenRequest, CsrfToken, DiscoveryError, EmptyExtraTokenFields,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardErrorResponse,
    StandardTokenResponse, TokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
        CoreIdTokenVerifier, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
        CoreProviderMetadata, CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
        CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{Core, roles::Role};
use crate::{
    egress::{Egress, EgressError, Pool},
    error::{Code, Error, Result},
};

/// How long what the issuer said about itself is taken for true, in milliseconds.
const METADATA_GOOD_FOR_MS: i64 = 60 * 60_000;

/// Signatures that count: by a key of the issuer's own. Never by a shared secret, and never none.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What is set about the issuer.
pub struct Settings {
    /// Its identifier.
    pub issuer: String,
    /// What it calls this Keyward.
    pub client_id: String,
    /// What this Keyward proves that with.
    pub client_secret: Option<Zeroizing<String>>,
    /// What is asked for, beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that holds the groups.
    pub groups_claim: String,
    /// Groups, each with the role it gives.
    pub role_map: Vec<(String, Role)>,
    /// What members call it.
    pub name: String,
    /// Where it sends members back to.
    pub redirect_url: String,
}

/// The issuer.
pub struct Issuer {
    settings: Settings,
    issuer: IssuerUrl,
    redirect_url: RedirectUrl,
    egress: Arc<Egress>,
    metadata: Mutex<Option<(Arc<CoreProviderMetadata>, i64)>>,
}

/// What belongs to one try to sign in, until the member comes back.
#[derive(Serialize, Deserialize)]
pub struct Proofs {
    /// Stands in the token, so that no other token will do.
    pub nonce: String,
    /// What the code can be exchanged with.
    pub verifier: String,
}

/// Who somebody is, as the issuer's signature proves.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The issuer.
    pub issuer: String,
    /// What it calls them, for ever.
    pub subject: String,
    /// Their e-mail, which proves nothing.
    pub email: Option<String>,
    /// Their name.
    pub name: Option<String>,
    /// The highest role that one of their groups gives.
    pub role: Option<Role>,
}

/// Every claim that OpenID Connect itself does not know.
#[derive(Debug, Serialize, Deserialize)]
struct OtherClaims {
    #[serde(flatten)]
    all: HashMap<String, Value>,
}
impl AdditionalClaims for OtherClaims {}

type Fields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Refused = StandardErrorResponse<CoreErrorResponseType>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
type IssuerClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    Refused,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// How the protocol's library reaches the issuer: by the one way out.
struct Http {
    egress: Arc<Egress>,
    pool: Arc<Pool>,
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = EgressError;
    type Future = Boxed<'c, Result<HttpResponse, EgressError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.egress.fetch(&self.pool, request))
    }
}

/// A future that hides what it is made of: the compiler cannot see for every lifetime at once that it crosses threads.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn discovered<'a>(
    issuer: IssuerUrl,
    http: &'a Http,
) -> Boxed<'a, Result<CoreProviderMetadata, DiscoveryError<EgressError>>> {
    Box::pin(CoreProviderMetadata::discover_async(issuer, http))
}

fn exchanged<'a>(
    request: CodeTokenRequest<'a, Refused, Tokens>,
    http: &'a Http,
) -> Boxed<'a, Result<Tokens, RequestTokenError<EgressError, Refused>>> {
    Box::pin(request.request_async(http))
}

impl Issuer {
    /// An issuer that is called by this way out.
    ///
    /// # Errors
    /// What is wrong with its identifier, or with the address it sends members back to.
    pub fn new(settings: Settings, egress: Egress) -> Result<Issuer, String> {
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| error.to_string())?;
        let redirect_url = RedirectUrl::new(settings.redirect_url.clone()).map_err(|error| error.to_string())?;
        Ok(Issuer { settings, issuer, redirect_url, egress: Arc::new(egress), metadata: Mutex::new(None) })
    }

    /// What members call it.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where a member is sent to sign in there, to come back with `state`.
    ///
    /// # Errors
    /// [`Code::IssuerUnavailable`].
    pub(super) async fn authorize_url(&self, core: &Core, state: &str, proofs: &Proofs) -> Result<String> {
        let metadata = self.metadata(core, false).await?;
        let (state, nonce) = (CsrfToken::new(state.to_owned()), Nonce::new(proofs.nonce.clone()));
        let verifier = PkceCodeVerifier::new(proofs.verifier.clone());
        let client = self.client(&metadata);
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let request = client
            .authorize_url(flow, || state, || nonce)
            .add_scopes(self.settings.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        Ok(request.url().0.to_string())
    }

    /// Exchanges the code that a member came back with for a token, and reads from it who they are.
    ///
    /// # Errors
    /// [`Code::IssuerUnavailable`]; [`Code::IdentityRefused`] where the issuer takes the code for none, or its token proves
    /// nothing.
    pub(super) async fn prove(&self, core: &Core, code: String, proofs: Proofs) -> Result<Proven> {
        let metadata = self.metadata(core, false).await?;
        let tokens = self.exchange(core, &metadata, code, proofs.verifier).await?;
        let nonce = Nonce::new(proofs.nonce);
        match self.read(core, &metadata, &tokens, &nonce) {
            // Perhaps with a key that is newer than what is known of the issuer: asked for once.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                let metadata = self.metadata(core, true).await?;
                self.read(core, &metadata, &tokens, &nonce).map_err(|error| self.proves_nothing(error))
            }
            read => read.map_err(|error| self.proves_nothing(error)),
        }
    }

    async fn exchange(
        &self,
        core: &Core,
        metadata: &CoreProviderMetadata,
        code: String,
        verifier: String,
    ) -> Result<Tokens> {
        let client = self.client(metadata);
        let http = self.http(core);
        let request = client.exchange_code(AuthorizationCode::new(code)).map_err(|error| self.unavailable(error))?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
        exchanged(request, &http).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(said) => {
                let detail = format!("{} refused this sign-in: {}", self.name(), said.error());
                Error::new(Code::IdentityRefused, detail).with_cause(format!("{said}"))
            }
            other => self.unavailable(other),
        })
    }

    /// Reads a token, if everything about it is right: issuer, audience, signature, time, nonce.
    fn read(
        &self,
        core: &Core,
        metadata: &CoreProviderMetadata,
        tokens: &Tokens,
        nonce: &Nonce,
    ) -> Result<Proven, ClaimsVerificationError> {
        let now = DateTime::<Utc>::from_timestamp_millis(core.clock.now_ms()).unwrap_or_default();
        let client_id = ClientId::new(self.settings.client_id.clone());
        // Also with a client secret: nothing that is signed with it counts.
        let verifier = CoreIdTokenVerifier::new_public_client(client_id, self.issuer.clone(), metadata.jwks().clone())
            .set_allowed_algs(SIGNATURES)
            .set_time_fn(|| now);
        let token = tokens.id_token().ok_or_else(|| ClaimsVerificationError::Other(String::from("no ID token")))?;
        let claims = token.claims(&verifier, nonce)?;
        let name = claims.name().and_then(|name| name.get(None)).map(|name| name.to_string());
        let username = claims.preferred_username().map(|name| name.to_string());
        Ok(Proven {
            issuer: self.settings.issuer.clone(),
            subject: claims.subject().to_string(),
            email: claims.email().map(|email| email.to_string()),
            name: name.or(username),
            role: self.role_of(claims.additional_claims().all.get(&self.settings.groups_claim)),
        })
    }

    /// The highest role that these groups give.
    fn role_of(&self, groups: Option<&Value>) -> Option<Role> {
        let groups: Vec<&str> = match groups {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group],
            _ => Vec::new(),
        };
        let gives = |role: &Role| {
            self.settings.role_map.iter().any(|(group, given)| given == role && groups.contains(&group.as_str()))
        };
        Role::ALL.into_iter().find(gives)
    }

    /// What the issuer says about itself: as it was read within the last hour, or `afresh`.
    async fn metadata(&self, core: &Core, afresh: bool) -> Result<Arc<CoreProviderMetadata>> {
        let mut kept = self.metadata.lock().await;
        let now = core.clock.now_ms();
        if let Some((metadata, until)) = kept.as_ref()
            && now < *until
            && !afresh
        {
            return Ok(Arc::clone(metadata));
        }
        let read = discovered(self.issuer.clone(), &self.http(core)).await;
        let metadata = Arc::new(read.map_err(|error| match error {
            DiscoveryError::Request(error) => self.unavailable(error),
            other => self.unavailable(other),
        })?);
        *kept = Some((Arc::clone(&metadata), now + METADATA_GOOD_FOR_MS));
        Ok(metadata)
    }

    fn client(&self, metadata: &CoreProviderMetadata) -> IssuerClient {
        let secret = self.settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.to_string()));
        let client_id = ClientId::new(self.settings.client_id.clone());
        let client = Client::from_provider_metadata(metadata.clone(), client_id, secret)
            .set_redirect_uri(self.redirect_url.clone());
        let ways = metadata.token_endpoint_auth_methods_supported();
        let only_by_body = ways.is_some_and(|ways| {
            !ways.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && ways.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        if only_by_body { client.set_auth_type(AuthType::RequestBody) } else { client }
    }

    fn http(&self, core: &Core) -> Http {
        Http { egress: Arc::clone(&self.egress), pool: Arc::clone(&core.pool) }
    }

    fn unavailable(&self, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        let detail = format!(
            "{} cannot be asked who you are just now: it does not answer, or not as it should; try again, or sign in \
             with a password",
            self.name()
        );
        Error::new(Code::IssuerUnavailable, detail).with_cause(cause)
    }

    fn proves_nothing(&self, cause: ClaimsVerificationError) -> Error {
        let why = match &cause {
            ClaimsVerificationError::Expired(_) => "it has expired",
            ClaimsVerificationError::InvalidAudience(_) => "it is for somebody else",
            ClaimsVerificationError::InvalidIssuer(_) => "it is from somebody else",
            ClaimsVerificationError::InvalidNonce(_) => "it is of another sign-in",
            ClaimsVerificationError::SignatureVerification(_) => "its signature does not hold",
            _ => "it is not what was asked for",
        };
        let detail = format!("what {} sent does not prove who you are: {why}; nobody was signed in", self.name());
        // The cause may repeat what stood in the token, but no secret.
        tracing::warn!(%cause, "an ID token was refused");
        Error::new(Code::IdentityRefused, detail).with_cause(cause)
    }
}
