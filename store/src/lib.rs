//! Where uploads and outputs lie.
//!
//! A [`Store`] holds objects under [`Key`]s, in a folder or in a bucket of S3 or Azure Blob. An object is there whole or not at all, and once it is there it stays as
//! it is: [`Store::put_once`] describes what it finds, so that work that is done a second time changes nothing. What is
//! too large for memory is written piece by piece, as an [`Upload`].
//!
//! ```
//! use safelight_store::{Key, Put, Store, StoreArgs};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let store = Store::open(&StoreArgs::of_folder(folder.path()))?;
//! let key: Key = "output/1/cat_t.png".parse()?;
//! assert!(matches!(store.put_once(&key, b"first")?, Put::New(_)));
//! let Put::There(object) = store.put_once(&key, b"second")? else { unreachable!() };
//! assert_eq!(object.bytes, 5);
//! assert_eq!(object.blake3, *blake3::hash(b"first").as_bytes());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod args;
mod client;
mod connection;
mod error;
mod fault;
mod folder;
mod key;
mod parts;
mod reader;
mod remote;
mod store;
mod temporary;
mod upload;

pub use crate::args::{ConfigError, StoreArgs};
pub use crate::error::StoreError;
pub use crate::key::{InvalidKey, Key};
pub use crate::reader::Reader;
pub use crate::store::{Object, Put, Store};
pub use crate::upload::Upload;
