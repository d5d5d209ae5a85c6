//! The PKCS#11 token.
