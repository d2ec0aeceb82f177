"""`python -m mcad_mobile` and `accelerate launch -m mcad_mobile`."""

from mcad_mobile.cli import main

main()
