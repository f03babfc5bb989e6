//! Tokens: JSON web tokens (RFC 7519) that are signed and verified with HS256, and with nothing else.
//!
//! What a token says: `sub` the user, `channels` names or `prefix*`, `exp`, `iat` to the millisecond, `info`, `publish`,
//! `ns` the namespace. The crate brings the format and the checks; of its ways to sign none is compiled in but the one
//! below, so that a header cannot choose another.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::call::{MAX_TOKEN, MAX_TOKEN_TTL};
use crate::channel::ChannelName;
use crate::error::Error;
use crate::identity::{Identity, check_info, check_user};

/// By how much the clock of another signer may be ahead, in milliseconds.
const AHEAD: u64 = 60_000;

/// What the hub signs with, and what it takes for its own.
pub(crate) struct Keys {
    sign: EncodingKey,
    verify: Vec<DecodingKey>,
    validation: Validation,
}

/// What a token is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issue<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) channels: &'a [&'a str],
    pub(crate) user: Option<&'a str>,
    pub(crate) ttl: u32,
    pub(crate) info: &'a [u8],
    pub(crate) publish: bool,
}

/// What a token says that is valid now.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) identity: Option<Identity>,
    channels: Vec<String>,
    /// Unix time, in seconds.
    pub(crate) expires: u32,
    /// Unix time, in milliseconds.
    pub(crate) issued: u64,
    pub(crate) publish: bool,
}

impl Token {
    /// Whether it names the channel.
    pub(crate) fn names(&self, channel: &str) -> bool {
        self.channels.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => pattern == channel,
        })
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    channels: &'a [&'a str],
    exp: u64,
    iat: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    publish: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    ns: &'a str,
}

#[derive(Deserialize)]
struct Claimed {
    sub: Option<String>,
    channels: Vec<String>,
    exp: u64,
    iat: f64,
    info: Option<Box<RawValue>>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    ns: String,
}

impl Keys {
    /// The first secret signs, each of them verifies.
    pub(crate) fn new(secrets: &[&[u8]]) -> Self {
        // Another copy of this library in the process would have a static of its own; ours is set by us alone.
        let _ = PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        // RFC 7519, section 4.1.4: not on the second itself.
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_nbf = true;
        Self {
            sign: EncodingKey::from_secret(secrets[0]),
            verify: secrets.iter().map(|secret| DecodingKey::from_secret(secret)).collect(),
            validation,
        }
    }

    /// Signs a token; `now` is the Unix time in milliseconds.
    pub(crate) fn sign(&self, issue: Issue<'_>, now: u64) -> Result<String, Error> {
        if issue.channels.is_empty() {
            return Err(Error::InvalidArgument("a token names at least one channel".to_owned()));
        }
        issue.channels.iter().try_for_each(|pattern| ChannelName::check_pattern(pattern.as_bytes()).map(drop))?;
        issue.user.map(check_user).transpose()?;
        if !(1..=MAX_TOKEN_TTL).contains(&issue.ttl) {
            return Err(Error::InvalidArgument(format!(
                "a token lives {} seconds: allowed are 1 to {MAX_TOKEN_TTL} (30 days)",
                issue.ttl
            )));
        }
        let info = check_info(issue.info)?;
        if info.is_some() && issue.user.is_none() {
            return Err(Error::InvalidArgument("info is about a user, and the token names none".to_owned()));
        }
        let claims = Claims {
            sub: issue.user,
            channels: issue.channels,
            exp: now / 1000 + u64::from(issue.ttl),
            iat: now as f64 / 1000.0,
            info,
            publish: issue.publish,
            ns: issue.namespace,
        };
        let token = encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .map_err(|error| Error::HubUnavailable(format!("the token cannot be signed: {error}")))?;
        if token.len() > MAX_TOKEN {
            return Err(Error::InvalidArgument(format!(
                "the token has {} bytes, and proxies take {MAX_TOKEN} safely: name fewer channels, or a prefix of them \
                 (\"news.*\"), or give less info",
                token.len()
            )));
        }
        Ok(token)
    }

    /// What the token says, or why it says nothing. `now` is the Unix time in milliseconds.
    pub(crate) fn verify(&self, token: &[u8], namespace: &str, now: u64) -> Result<Token, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("it is longer than a token can be");
        }
        let mut why = JwtError::from(ErrorKind::InvalidSignature);
        for key in &self.verify {
            match decode::<Claimed>(token, key, &self.validation) {
                Ok(data) => return accept(data.claims, namespace, now),
                Err(error) => why = error,
            }
            if !matches!(why.kind(), ErrorKind::InvalidSignature) {
                break;
            }
        }
        Err(match why.kind() {
            ErrorKind::InvalidSignature => "it was not signed with a secret of this hub",
            ErrorKind::ExpiredSignature => "it has expired",
            ErrorKind::ImmatureSignature => "it is not valid yet",
            ErrorKind::InvalidAlgorithm => "it was not signed with HS256",
            ErrorKind::InvalidAudience => "it is for another audience",
            _ => "it is no JWT that is signed with HS256 and says channels, exp and iat",
        })
    }
}

fn accept(claimed: Claimed, namespace: &str, now: u64) -> Result<Token, &'static str> {
    let Claimed { sub, channels, exp, iat, info, publish, ns } = claimed;
    if ns != namespace {
        return Err("it is for another namespace");
    }
    let issued = (iat * 1000.0).round();
    if !(issued >= 0.0 && issued <= (now + AHEAD) as f64) {
        return Err("it was issued in the future");
    }
    // A revocation is forgotten when no token of before can be valid any more.
    if exp as f64 > iat + f64::from(MAX_TOKEN_TTL) + 1.0 {
        return Err("it lives longer than 30 days");
    }
    let expires = u32::try_from(exp).map_err(|_| "it lives longer than 30 days")?;
    let info = check_info(info.as_ref().map_or(b"", |info| info.get().as_bytes())).map_err(|_| "its info is wrong")?;
    let identity = match &sub {
        None => None,
        Some(user) => {
            check_user(user).map_err(|_| "its user is wrong")?;
            let info = info.map_or_else(Arc::default, |info| info.get().as_bytes().into());
            Some(Identity { user: user.as_str().into(), info })
        }
    };
    Ok(Token { identity, channels, expires, issued: issued as u64, publish })
}

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?))
}

/// HMAC with SHA-256 (RFC 7518, section 3.2).
struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, JwtError> {
        match algorithm {
            Algorithm::HS256 => Hmac::new_from_slice(key).map(Self).map_err(|_| ErrorKind::InvalidKeyFormat.into()),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    // Compares in constant time.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}
