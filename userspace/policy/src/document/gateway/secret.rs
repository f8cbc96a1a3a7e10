//! `v1` Secret: those of type `kubernetes.io/tls`.

use super::super::meta::{self, Shape};
use super::super::node::Node;
use super::super::reader::Reader;
use crate::model::{ObjectName, TlsSecret};

/// The type of Secrets that gateways take certificates from.
const TLS: &str = "kubernetes.io/tls";

/// Decodes a Secret. One of another type is nothing to us, and `None` without a fault.
pub(in crate::document) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<TlsSecret> {
    let before = reader.errors();
    let mut metadata = None;
    let mut kind = "Opaque";
    let (mut data, mut plain) = (None, None);
    let fields = ["apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable"];
    reader.fields(node, "Secret", &fields, |reader, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "type" => kind = reader.text(&entry.value, key).unwrap_or(kind),
        "data" => data = Some(&entry.value),
        "stringData" => plain = Some(&entry.value),
        _ => {}
    });
    let meta = meta::decode(reader, node.mark, metadata, Shape::Workload)?;
    if reader.errors() != before {
        return None;
    }
    if kind != TLS {
        reader
            .warn(meta.mark, format!("only Secrets of type {TLS} mean something here: this one is ignored"));
        return None;
    }
    let (mut certificate, mut key) = (None, None);
    if let Some(data) = data {
        for entry in reader.entries(data, "data") {
            let name = &*entry.key.text;
            let slot = match name {
                "tls.crt" => &mut certificate,
                "tls.key" => &mut key,
                _ => continue,
            };
            let Some(text) = reader.text(&entry.value, name) else { continue };
            *slot = base64(text);
            if slot.is_none() {
                // Nothing of what is written here is said: it may be a key.
                reader.error(
                    entry.value.mark,
                    format!("{name} is not base64 (RFC 4648); write PEM in `stringData`"),
                );
            }
        }
    }
    if let Some(plain) = plain {
        for entry in reader.entries(plain, "stringData") {
            let name = &*entry.key.text;
            let slot = match name {
                "tls.crt" => &mut certificate,
                "tls.key" => &mut key,
                _ => continue,
            };
            // As in Kubernetes, `stringData` wins over `data`.
            *slot = reader.text(&entry.value, name).map(|text| text.as_bytes().to_vec());
        }
    }
    if reader.errors() == before {
        for (is_missing, name) in [(certificate.is_none(), "tls.crt"), (key.is_none(), "tls.key")] {
            if is_missing {
                reader.missing(node.mark, &format!("a Secret of type {TLS}"), name);
            }
        }
    }
    Some(TlsSecret {
        name: ObjectName { namespace: meta.namespace, name: meta.name },
        certificate: certificate?,
        key: key?,
        place: reader.place(meta.mark),
    })
}

/// Base64 of RFC 4648, section 4, padded; line breaks are let pass.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held, mut digits, mut padding) = (0_u32, 0_u32, 0_usize, 0_usize);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b'\n' | b'\r' | b' ' => continue,
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        digits += 1;
        bits = (bits << 6 | u32::from(digit)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap_or_default());
        }
    }
    let is_whole = (digits + padding).is_multiple_of(4) && padding <= 2 && digits % 4 != 1;
    is_whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9v\nYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        for wrong in ["Z", "Zg", "Zg=", "Zg==Zg==", "Zm9v!", "Zg==="] {
            assert_eq!(base64(wrong), None, "{wrong}");
        }
    }
}
