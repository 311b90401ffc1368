"""Parity cases: files, captured messages, the state that a case begins with."""
