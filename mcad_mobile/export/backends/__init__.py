"""One package for each backend, which converts, quantizes, compiles and checks towers."""
