use clap::Args;

/// How a transformer works.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// media that are worked on at once, from 1 to 256 [default: one a core]
    #[arg(
        long = "transformer-workers",
        env = "TRANSFORMER_WORKERS",
        value_parser = clap::value_parser!(u16).range(1..=256),
        value_name = "NUMBER"
    )]
    pub workers: Option<u16>,

    /// media that may wait for a worker; more are answered RESOURCE_EXHAUSTED
    #[arg(
        id = "transformer-queue",
        long = "transformer-queue",
        env = "TRANSFORMER_QUEUE",
        default_value_t = 64,
        value_name = "NUMBER"
    )]
    pub queue: u16,
}

// === impl Config ===

impl Config {
    pub(crate) fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(cores, usize::from)
    }
}
