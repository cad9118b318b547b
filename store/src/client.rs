//! The client of a bucket, by what the environment says.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use crate::args::{Bucket, ConfigError, Kind};
use crate::connection::Connections;

/// # Errors
/// [`ConfigError::Bucket`].
pub(crate) fn of(
    bucket: &Bucket,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Arc<dyn ObjectStore>, ConfigError> {
    match bucket.kind {
        Kind::S3 => s3(&bucket.name, variables),
        Kind::Azure => azure(&bucket.name, variables),
    }
}

fn s3(
    bucket: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Arc<dyn ObjectStore>, ConfigError> {
    let mut builder = AmazonS3Builder::new();
    for (key, value) in keys::<AmazonS3ConfigKey>("AWS_", variables) {
        builder = builder.with_config(key, value);
    }
    let built = builder
        .with_bucket_name(bucket)
        .with_http_connector(Connections)
        .with_retry(retry())
        // Not every store has the request for many.
        .with_disable_bulk_delete(true)
        .build();
    Ok(Arc::new(built.map_err(unusable)?))
}

fn azure(
    container: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Arc<dyn ObjectStore>, ConfigError> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in keys::<AzureConfigKey>("AZURE_", variables) {
        builder = builder.with_config(key, value);
    }
    let built = builder
        .with_container_name(container)
        .with_http_connector(Connections)
        .with_retry(retry())
        .build();
    Ok(Arc::new(built.map_err(unusable)?))
}

/// Those of the variables that the client knows.
fn keys<K: FromStr>(
    prefix: &'static str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> impl Iterator<Item = (K, String)> {
    variables
        .into_iter()
        .filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty())
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
}

/// Short: who asked waits, and asks again by themselves.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(10),
    }
}

fn unusable(error: object_store::Error) -> ConfigError {
    ConfigError::Bucket(error.to_string())
}
