"""The batch framework: jobs and arrays of them, in a shared store, worked on by interchangeable workers."""
