#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_configuration_that_trusts_nobody_is_none() {
    let built = TlsConfig::builder().build();
    assert!(matches!(built, Err(TlsConfigError::NoCertificate)), "{built:?}");
}

#[test]
fn what_is_not_pem_is_refused_and_a_missing_file_is_named() {
    let built = TlsConfig::builder().ca_pem(b"certainly not");
    assert!(matches!(built, Err(TlsConfigError::NoCertificate)), "{built:?}");
    let error = TlsConfig::builder().ca_file("/nowhere/ca.pem").unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let pair = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (one, other) = (pair("one"), pair("other"));
    let built = TlsConfig::builder()
        .ca_pem(one.cert.pem().as_bytes())
        .unwrap()
        .client_certificate_pem(
            one.cert.pem().as_bytes(),
            other.signing_key.serialize_pem().as_bytes(),
        )
        .unwrap()
        .build();
    assert!(matches!(built, Err(TlsConfigError::Unusable(_))), "{built:?}");
}

#[test]
fn neither_a_configuration_nor_its_builder_shows_the_key() {
    let pair = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let builder = TlsConfig::builder()
        .ca_pem(pair.cert.pem().as_bytes())
        .unwrap()
        .client_certificate_pem(
            pair.cert.pem().as_bytes(),
            pair.signing_key.serialize_pem().as_bytes(),
        )
        .unwrap();
    let key = format!("{:?}", pair.signing_key.serialize_der());
    let shown = format!("{builder:?}");
    assert!(!shown.contains(key.trim_matches(['[', ']'])), "{shown}");
    let shown = format!("{:?}", builder.build().unwrap());
    assert!(shown.len() < 100, "{shown}");
}
