//! The pages that show what became of every image.
