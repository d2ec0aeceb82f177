"""Everyday photo queries, from one word to a long sentence: what the bench searches for.

Length matters (it decides how many tokens a text tower reads), so lengths are mixed as people
mix them: mostly two to six words.
"""

from __future__ import annotations

QUERIES = (
    "dog",
    "beach",
    "sunset",
    "birthday",
    "passport",
    "my cat",
    "red car",
    "snowy mountains",
    "wedding dance",
    "pizza slice",
    "a dog on the beach",
    "kids playing football",
    "sunset over the sea",
    "people around a campfire",
    "coffee on a wooden table",
    "a bicycle against a wall",
    "grandma in the garden",
    "receipt from the restaurant",
    "a train at the station",
    "city lights at night",
    "baby sleeping in a crib",
    "two friends laughing",
    "flowers in a blue vase",
    "a boat on a calm lake",
    "whiteboard with a drawing",
    "screenshot of a map",
    "man riding a horse",
    "girl with a red umbrella",
    "birthday cake with candles",
    "football match in the rain",
    "an old stone bridge over a river",
    "a bowl of soup with noodles",
    "skiing down a steep slope in winter",
    "a small white dog running through grass",
    "children building a castle in the sand",
    "crowd at a concert with stage lights",
    "a plate of pasta and a glass of wine",
    "an airplane wing above the clouds",
    "a woman reading a book on a park bench",
    "the view from the hotel window in the morning",
    "a black cat sitting on top of a laptop keyboard",
    "a group of hikers resting beside a mountain stream",
    "a street market with fruit and vegetables under coloured awnings",
    "my brother holding a large fish on the wooden pier at the lake",
    "a child in a yellow raincoat jumping into a puddle in front of the house",
    "two people on a motorbike riding along a dusty road between green rice fields at dawn",
    "a long table set for dinner in the garden with lanterns hanging from the trees "
    "and guests arriving",
    "a man in a dark suit and a woman in a white dress cutting a tall cake while their "
    "families watch",
)
