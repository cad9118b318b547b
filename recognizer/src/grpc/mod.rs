pub(crate) mod facerecog;
pub(crate) mod people;
mod status;
