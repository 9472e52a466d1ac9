"""The batch framework: jobs and job arrays in a shared store, processed by interchangeable workers."""
