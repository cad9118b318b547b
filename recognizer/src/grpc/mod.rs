pub(crate) mod facerecog;
pub(crate) mod health;
pub(crate) mod people;
mod status;
