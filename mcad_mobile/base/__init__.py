"""What every part of the package may use: typed documents, files, locks, the machine."""
