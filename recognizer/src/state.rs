/// What a recognizer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Models and known people are being loaded.
    Loading,
    /// Pictures are recognized.
    Serving,
    /// The models could not be loaded, with the reason. It stays so.
    Failed(String),
    /// What runs is being finished; nothing new is taken.
    Stopping,
}

// === impl State ===

impl State {
    /// Whether pictures are recognized.
    pub fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}
