"""Value types of the engine. They import nothing but the standard library."""
