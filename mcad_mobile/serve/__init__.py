"""A page on localhost to try bundles on one's own photos, and a JSON API beside it.

Nothing here decides what is found: a search is SearchEngine's, over a PhotoIndex, as
`mcad-mobile search` makes it.
"""
