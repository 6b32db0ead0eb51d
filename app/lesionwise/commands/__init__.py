"""The commands, one module each: parse, call, print. Heavy imports stay inside the functions."""
