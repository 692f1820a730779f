//! `GET /`: the status page. One file with all that it needs; it may load nothing else, be framed by nobody, and run no
//! other script than its own, which the browser holds it to.
//!
//! The page itself tells nothing and needs no token: what it shows, it asks for with the token that its reader types in.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PAGE: &str = include_str!("status.html");

/// What the page may do. Reckoned from the page itself, so that the two cannot differ.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let [script, style] = ["script", "style"].map(|tag| sha256(inside(tag)));
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
});

/// The page, as it is for everybody.
pub(super) fn page() -> Response {
    let head = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // After an upgrade, the new one.
        (CACHE_CONTROL, "no-cache"),
    ];
    (head, PAGE).into_response()
}

/// What stands between a tag and its end; there is one of each.
fn inside(tag: &str) -> &'static str {
    let begun = PAGE.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
    begun.split_once(&format!("</{tag}>")).map_or("", |(inside, _)| inside)
}

/// In the words of a policy.
fn sha256(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_page_s_own_script_and_style_and_nothing_else() {
        // FIPS 180-4, of "abc".
        assert_eq!(sha256("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert!(inside("script").contains("use strict") && inside("style").contains("prefers-color-scheme"));
        for dangerous in ["'unsafe-inline'", "'unsafe-eval'", "http:", "https:", "''"] {
            assert!(!POLICY.contains(dangerous), "{}", *POLICY);
        }
        assert!(POLICY.starts_with("default-src 'none'; script-src 'sha256-"), "{}", *POLICY);
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(PAGE.len() <= 40 * 1024, "{} octets", PAGE.len());
        for elsewhere in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "insertAdjacentHTML", "eval("]
        {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(elsewhere);
            assert!(!found, "{elsewhere} is in the page");
        }
        for once in ["<script", "<style", "</script", "</style"] {
            assert_eq!(PAGE.matches(once).count(), 1, "{once}");
        }
    }
}
