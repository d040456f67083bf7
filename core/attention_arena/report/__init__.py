"""The report: `reading` results, what is `derived`, its `wording`, `rows`, `tables`, `figures`, and the `page`.

`compare` lays results side by side, `published` the numbers of the literature beside them.
"""
