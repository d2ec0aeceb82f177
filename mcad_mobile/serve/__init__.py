"""A page on localhost to try bundles on your own photos, and its JSON API.

Searches are those of SearchEngine over a PhotoIndex, as in `mcad-mobile search`.
"""
