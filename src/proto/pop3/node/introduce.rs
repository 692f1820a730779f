//! XCLIENT, in the form in which Dovecot is told of the client by proxies that it trusts.
//!
//! The keys and the form of each value are those that Dovecot reads; it refuses the whole command for one value that it
//! cannot read, so what could be such a value is left out. No value may hold a space.

use crate::proto::Introduction;

/// The command, with its line end.
pub(super) fn xclient(client: &Introduction) -> Vec<u8> {
    let mut fields = vec![
        format!("ADDR={}", client.client.ip()),
        format!("DESTADDR={}", client.connected.ip()),
        format!("SESSION={}", client.session),
        format!("TTL={}", client.ttl),
        format!("CLIENT-TRANSPORT={}", if client.tls.is_some() { "TLS" } else { "insecure" }),
    ];
    for (key, port) in [("PORT", client.client.port()), ("DESTPORT", client.connected.port())] {
        if port != 0 {
            fields.push(format!("{key}={port}"));
        }
    }
    if let Some(name) = client.server_name() {
        fields.push(format!("DESTNAME={name}"));
    }
    format!("XCLIENT {}\r\n", fields.join(" ")).into_bytes()
}
