//! The stylesheet, the script, the icon: built in.

use axum::{
    extract::Path,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};

use super::failure::Failure;

const STYLESHEET: &[u8] = include_bytes!("../../assets/keyward.css");
const SCRIPT: &[u8] = include_bytes!("../../assets/keyward.js");
const ICON: &[u8] = include_bytes!("../../assets/favicon.svg");

/// Changes with the stylesheet, the script or the icon, whose URLs carry it as `?v=`, so that they may be cached for good:
/// `/assets/keyward.css`, `/assets/keyward.js`, `/assets/favicon.svg`.
pub const ASSET_VERSION: u32 = {
    let hash = fnv1a(0x811c_9dc5, include_bytes!("../../assets/keyward.css"));
    let hash = fnv1a(hash, include_bytes!("../../assets/keyward.js"));
    fnv1a(hash, include_bytes!("../../assets/favicon.svg"))
};

const fn fnv1a(mut hash: u32, bytes: &[u8]) -> u32 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash
}

/// `GET /assets/{file}`
pub async fn serve(Path(file): Path<String>, uri: Uri) -> Result<Response, Failure> {
    let (kind, bytes) = match file.as_str() {
        "keyward.css" => ("text/css; charset=utf-8", STYLESHEET),
        "keyward.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "favicon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Failure::not_found()),
    };
    // Under another version's address these bytes would be kept as if they were that version.
    let is_settled = uri.query() == Some(format!("v={ASSET_VERSION}").as_str());
    let keep = if is_settled { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = ([(header::CONTENT_TYPE, kind)], bytes).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    Ok(response)
}
