"""The customer's setup page: download the request, take it to Apple's portal, bring the
certificate back. It belongs to the customer's plane and knows the vendor's through the link alone.

``decide`` says what the page says, purely; ``lookout`` asks the vendor and ``attendant`` does what
people want; ``page`` puts it into words and HTML; ``app`` serves it.
"""
