//! Ask any sensor's imagery in plain words: the facade library and the command-line program.
