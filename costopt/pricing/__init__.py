"""What machines cost: the book of prices, the rules that keep it honest, and what comes in from outside.

offers                 one row of the book: a machine in a region, its prices, their dates and sources
families               which machines are sizes of one another, read from their names
rules                  what is known to go wrong with prices, said in a sentence
book                   the shipped book (book.csv) with the user's own laid over it; find, read, write
incoming               rows from outside: completed from the book, checked, refused or taken
karpenter, spotinfo, skypilot, gpuhunt    one file a foreign format: text to rows, nothing executed
sources                the formats by name
gpuhunt_library        what that library fetches, when the user asks for it
download               a file, or an https address that the user named
refresh                the whole of `costopt prices refresh`
terms                  on demand, spot or reserved, with a discount: an offer as a quote
ownership              what an hour of a machine of one's own costs
price_sheet            the book as tables, for people and for programs
"""
