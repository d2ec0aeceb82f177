"""One folder for each backend: it converts, quantizes, compiles and checks towers."""
