//! The authorities whose brokers are trusted, where a directory has one file for each: while an authority is replaced there are two.

use std::path::Path;

/// librdkafka's file of certificates; of a directory it reads only files that are named by the hashes of their subjects.
pub(crate) const LOCATION: &str = "ssl.ca.location";

/// librdkafka's certificates themselves, any number of them.
const PEM: &str = "ssl.ca.pem";

/// What files of certificates are called.
const EXTENSIONS: [&str; 2] = ["crt", "pem"];

/// The property by which `location` is trusted, and its value: a file as librdkafka reads it, of a directory all certificates. Asked for
/// each new client, so that one that is opened after a change trusts what is there then.
pub(crate) fn trusted(location: &str) -> (&'static str, String) {
    certificates(Path::new(location))
        .map_or_else(|| (LOCATION, location.to_owned()), |certificates| (PEM, certificates))
}

/// The text of all files of certificates in a directory; none if it has no such file, or is no directory.
fn certificates(directory: &Path) -> Option<String> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| EXTENSIONS.iter().any(|name| found == *name)))
        .collect();
    files.sort();
    let mut certificates = String::new();
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                certificates.push_str(text.trim_end());
                certificates.push('\n');
            }
            // Fewer authorities are trusted, never more.
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "cannot read an authority's certificate");
            }
        }
    }
    (!certificates.is_empty()).then_some(certificates)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const OLD: &str = "\
-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUX/b0d8yggy3eEOX8kqsZHO/6iJIwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDb2xkMCAXDTI2MTEzMDA2NDkzNFoYDzIxMjYxMTA2MDY0OTM0
WjAOMQwwCgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATl3Bwd
x/4EtHUB+AnTs0hi/IgjlCzz/s18XPQwkMVpdNxUjxx/31+ixyOCcMkgXamCU7Nw
cgnokxkIBnVLg/6lo1MwUTAdBgNVHQ4EFgQUOHLozEwEDGunXGQvhFAYbzb3wqIw
HwYDVR0jBBgwFoAUOHLozEwEDGunXGQvhFAYbzb3wqIwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiBJa5VJy99efeLf7Zv7rxPOpIX816Opd9JovND1
rFBs3wIhAKNoJjjVVhEA86mCuA/fonDneciF8joWFR2QD/U0GZQE
-----END CERTIFICATE-----
";
    pub(crate) const NEW: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdDCCARmgAwIBAgIUW2O3BKlNGaICx/HjnAdLux0IBPIwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDbmV3MCAXDTI2MTEzMDA2NDkzNFoYDzIxMjYxMTA2MDY0OTM0
WjAOMQwwCgYDVQQDDANuZXcwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARhDVwV
4LHtRkR3rg+GsETozDCh8mwhkyqy+Zja/rEM54igtqSP9rCKx0W5Uj5PonqB5sMk
5BiySLbixcGBhXvXo1MwUTAdBgNVHQ4EFgQUpqajcc5uhhOTvcFCY4VTU0LAj54w
HwYDVR0jBBgwFoAUpqajcc5uhhOTvcFCY4VTU0LAj54wDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNJADBGAiEA+p+K+Pa5y3Bgn1+AF9xGIPgGtgSUo8a6UNv9
vXIC4NcCIQDwFXXsPQrQDYcYojy9pUlWBlv8k9+XhhT4/0FVFntAXg==
-----END CERTIFICATE-----
";

    #[test]
    fn every_certificate_of_a_directory_is_trusted() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.crt"), NEW).unwrap();
        std::fs::write(directory.path().join("ca-2026-01-01T00-00-00Z.crt"), OLD.trim_end()).unwrap();
        std::fs::write(directory.path().join("ca.password"), "of the trust store").unwrap();
        let (name, pem) = trusted(directory.path().to_str().unwrap());
        assert_eq!(name, PEM);
        assert!(pem.contains(OLD) && pem.contains(NEW), "{pem}");
        assert!(!pem.contains("trust store"), "{pem}");
    }

    #[test]
    fn a_file_and_a_directory_of_hashes_are_librdkafkas_to_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a1b2c3d4.0"), OLD).unwrap();
        let file = directory.path().join("ca.crt");
        let unchanged = |location: &Path| {
            let location = location.to_str().unwrap();
            assert_eq!(trusted(location), (LOCATION, location.to_owned()));
        };
        unchanged(directory.path());
        unchanged(&file);
        std::fs::write(&file, NEW).unwrap();
        unchanged(&file);
    }
}
