//! The one way out. Only this module opens a connection to another machine, and only it takes a provider's secret
//! out of its type: for exactly the origin the secret is bound to. No redirect is followed, nothing of a request
//! decides where a call goes, and the address that is connected to was checked after its name was resolved.
//!
//! | file | holds |
//! | --- | --- |
//! | [`target`] | a base URL, parsed and judged |
//! | [`address`] | which addresses may be called |
//! | [`connect`] | resolve, check, connect, TLS |
//! | [`pool`] | kept connections, one pool for each core |
//! | [`http1`] | what is spoken on a connection |
//! | [`client`] | a call: credential in, answer's head out |
//! | [`reply_body`] | the answer's body |
//! | [`socket`] | a WebSocket: the same, and then both directions |
//! | [`fetch`] | a small exchange with an identity provider |
//! | [`ask`] | whether a provider takes a key, and which models it has |
//! | [`smtp`] | mail, handed to a mail server |
//! | [`smtp_line`] | the connection to it, with TLS from the start or after STARTTLS |
//! | [`transit`] | a key in the transit engine of Vault or OpenBao |

mod address;
mod ask;
mod client;
mod connect;
mod fetch;
#[cfg(test)]
mod fuzz;
mod http1;
mod pool;
mod reply_body;
mod smtp;
mod smtp_line;
mod socket;
mod target;
mod transit;

pub use address::AddressPolicy;
pub use client::{Call, Credential, Egress, EgressError, Patience, Reply};
pub use http1::{connection::Connection, request::RequestHead};
pub use pool::Pool;
pub use reply_body::ReplyBody;
pub use smtp::{Letter, Smtp, SmtpLogin, SmtpSettings};
pub use socket::{Offer, Socket};
pub use target::{Target, TargetError};
pub use transit::{Transit, TransitSettings, TransitToken};
