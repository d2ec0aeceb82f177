"""Context binaries for the NPUs of Snapdragons."""
