"""What both planes say to people in the same words: languages, dates, Apple's portal.

Letters of the vendor's and the customer's setup page lead the same person through the same three
steps. What they share is here; it knows neither plane.
"""
